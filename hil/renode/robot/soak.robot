*** Settings ***
Documentation    Hours; left out unless asked for: renode-test --include soak. Measure 60 s first and scale.
Resource         ${CURDIR}/box.resource
Test Timeout     24 hours

*** Test Cases ***
Should Sample For An Hour
    [Tags]                    soak
    Execute Command           emulation SetGlobalAdvanceImmediately true
    ${folder}=                Play Box    3605.0
    No Sample Is Missing      ${folder}    5    3605

Should Hold Over For An Hour
    [Tags]                    soak
    Execute Command           emulation SetGlobalAdvanceImmediately true
    ${folder}=                Play Box    4900.0    outage=1200-4800
    ${holdover}=              First Second Of    ${folder}    holdover
    Should Be True            1200 <= ${holdover} < 1210
    ${locked}=                First Second Of    ${folder}    locked    ${holdover}
    Should Be True            4800 <= ${locked} < 4860
