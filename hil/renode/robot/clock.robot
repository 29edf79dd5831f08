*** Settings ***
Documentation    GPS and oscillator. How true every stamp is, is held by the scenarios (opq-tools hil run --backend renode).
Resource         ${CURDIR}/box.resource
Test Timeout     30 minutes

*** Test Cases ***
Should Lock Under Drift
    [Tags]                    timing
    [Template]                Locks With An Offset Of
    -20000
    0
    20000

Should Hold Over And Come Back
    [Tags]                    timing
    ${folder}=                Play Box    110.0    outage=50-80
    ${holdover}=              First Second Of    ${folder}    holdover
    Should Be True            50 <= ${holdover} < 60
    ${locked}=                First Second Of    ${folder}    locked    ${holdover}
    Should Be True            80 <= ${locked} < 105

Should Say Free Without A Receiver
    [Tags]                    timing
    ${folder}=                Play Box    10.0    gps=none
    ${free}=                  First Second Of    ${folder}    sampling, free
    Should Be True            ${free} < 6

Should Go On Across The Wrap Of TIM5
    [Documentation]           2^32 ticks of 84 MHz are 51.13 s; two wraps.
    [Tags]                    timing
    ${folder}=                Play Box    115.0
    ${step}=                  Largest Stamp Step Ns    ${folder}
    Should Be True            ${step} < 200

*** Keywords ***
Locks With An Offset Of
    [Arguments]               ${ppb}
    Reset Emulation
    ${folder}=                Play Box    60.0    ppb=${ppb}
    ${locked}=                First Second Of    ${folder}    sampling, locked
    Should Be True            ${locked} < 45
