*** Settings ***
Documentation    From power-on to samples, with nothing touched that no model has.
Resource         ${CURDIR}/box.resource
Test Timeout     10 minutes

*** Test Cases ***
Should Boot And Sample
    [Tags]                    smoke
    ${folder}=                Play Box    8.0
    ${hello}=                 Hello Of    ${folder}
    Should Be Equal As Integers    ${hello.rate_millihz}    12000000
    Should Start With         ${hello.hardware}    opqbox
    No Sample Is Missing      ${folder}    5    8

Should Touch No Register That Is Absent
    [Tags]                    smoke
    Create Log Tester         1
    ${folder}=                Boot Box    5.0
    Run Box                   5.0
    Should Not Be In Log      [uU]nhandled    treatAsRegex=True
    Should Not Be In Log      non existing peripheral
    Should Not Be In Log      violation

Should Run From Flash Or RAM
    [Tags]                    smoke
    ${folder}=                Boot Box    4.0
    Run Box                   4.0
    ${pc}=                    Counter    sysbus.cpu PC
    Should Be True            0x08000000 <= ${pc} < 0x080E0000 or 0x20000000 <= ${pc} < 0x20020000

Should Say Its Own Identity
    [Documentation]           The boot id is made of the chip's identity, its SRAM at power-on and the cause of the start; the last two are the same here.
    [Tags]                    smoke
    ${one}=                   Boot Id Of Chip    0x12345678
    ${again}=                 Boot Id Of Chip    0x12345678
    ${other}=                 Boot Id Of Chip    0x12345679
    Should Be Equal As Integers        ${one}    ${again}
    Should Not Be Equal As Integers    ${one}    ${other}

*** Keywords ***
Boot Id Of Chip
    [Arguments]               ${identity}
    ${folder}=                Boot Box    4.0
    Execute Command           sysbus WriteDoubleWord 0x1FFF7A10 ${identity}
    Run Box                   4.0
    Save Box                  ${folder}
    ${hello}=                 Hello Of    ${folder}
    Reset Emulation
    RETURN                    ${hello.boot_id}
