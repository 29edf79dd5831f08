*** Settings ***
Documentation    The rate is exact, by the models' counters and by the samples that arrive.
Resource         ${CURDIR}/box.resource
Test Timeout     20 minutes

*** Test Cases ***
Should Convert At Exactly The Rate
    [Documentation]           Oversampling times 120,000 in ten seconds, whatever the two moments are.
    [Tags]                    timing
    ${folder}=                Boot Box    16.0    put=oversampling=1
    Run Box                   5.0
    ${before}=                Counter    sysbus.spi2 ConversionCount
    Run Box                   10.0
    ${after}=                 Counter    sysbus.spi2 ConversionCount
    Should Be True            ${after} - ${before} == 120000
    ${early}=                 Counter    sysbus.spi2 TooEarly
    ${overruns}=              Counter    sysbus.spi2 Overruns
    ${unserviced}=            Counter    sysbus.dma1 UnservicedHalf
    Should Be True            ${early} + ${overruns} + ${unserviced} == 0

Should Lose No Sample In A Minute
    [Tags]                    timing
    ${folder}=                Play Box    65.0
    No Sample Is Missing      ${folder}    5    65
    ${step}=                  Largest Stamp Step Ns    ${folder}
    Should Be True            ${step} < 200

Should Give The Same Bytes Again
    [Tags]                    timing
    ${first}=                 Play Box    6.0
    Reset Emulation
    ${second}=                Play Box    6.0
    ${same}=                  Evaluate    open($first + '/uart1.log').read() == open($second + '/uart1.log').read()
    Should Be True            ${same}
