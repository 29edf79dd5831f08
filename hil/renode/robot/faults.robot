*** Settings ***
Documentation    The line, a hang, a power cut: told, counted, survived.
Resource         ${CURDIR}/box.resource
Test Timeout     20 minutes

*** Test Cases ***
Should Count What Is Lost While It Stands Still
    [Documentation]           50 ms are 600 samples, and a block is lost whole: 609 in the runs of 2026-11-21.
    [Tags]                    fault
    ${folder}=                Boot Box    14.0
    Run Box                   6.0
    Execute Command           sysbus.cpu IsHalted true
    Run Box                   0.05
    Execute Command           sysbus.cpu IsHalted false
    ${unserviced}=            Counter    sysbus.dma1 UnservicedHalf
    Should Be True            ${unserviced} > 0
    Run Box                   6.0
    Save Box                  ${folder}
    One Hole Is Reported      ${folder}    600    700

Should Reset By Its Watchdog And Say So
    [Tags]                    fault
    ${folder}=                Boot Box    30.0
    Run Box                   6.0
    Execute Command           sysbus.cpu IsHalted true
    Run Box                   9.0
    ${resets}=                Counter    sysbus.iwdg Resets
    Should Be Equal As Integers    ${resets}    1
    ${halted}=                Execute Command    sysbus.cpu IsHalted
    Should Contain            ${halted}    False
    Run Box                   8.0
    Save Box                  ${folder}
    ${starts}=                Starts Of    ${folder}
    Should Be True            ${starts} >= 2

Should Live With A Bad Line
    [Tags]                    fault
    ${folder}=                Play Box    20.0    noise=0.0001
    ${bad}=                   Bad Frames Of    ${folder}
    ${blocks}=                Blocks Of    ${folder}
    Should Be True            0 < ${bad} < 200
    Should Be True            ${blocks} > 800

Should Keep Its Settings Through A Cut At Any Write
    [Documentation]           A few writes of one save; the scenario `cuts_settings` has all of them.
    [Tags]                    fault
    [Template]                Survives A Cut At Operation
    1
    2
    9
    30

*** Keywords ***
Survives A Cut At Operation
    [Arguments]               ${operation}
    Reset Emulation
    ${folder}=                Play Box    6.0    put=gain=1.5    cut_after=${operation}
    ${again}=                 Make Folder
    ${world}=                 Write World    ${again}    8.0
    Reset Emulation
    Start Box                 ${world}    ${folder}/flash.bin
    Run Box                   8.0
    Save Box                  ${again}
    No Sample Is Missing      ${again}    6    8
