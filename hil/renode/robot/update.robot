*** Settings ***
Documentation    Images over the link: a good one runs, a bad one changes nothing. The reset loads no ELF: flash is flash.
Resource         ${CURDIR}/box.resource
Test Timeout     30 minutes

*** Test Cases ***
Should Take A Good Image And Confirm It
    [Documentation]           The same version into the other slot: the Box starts it on trial and confirms it.
    [Tags]                    update
    ${folder}=                Send Image
    ${starts}=                Starts Of    ${folder}
    Should Be True            ${starts} >= 2
    ${codes}=                 Log Codes Of    ${folder}
    Should Contain            ${codes}    ${52}

Should Refuse A Changed Body
    [Tags]                    update
    Refuses An Image          flip=2000

Should Refuse A Changed Signature
    [Tags]                    update
    Refuses An Image          flip=460

Should Refuse A Truncated Image
    [Tags]                    update
    Refuses An Image          send_bytes=20000

*** Keywords ***
Send Image
    [Arguments]               &{facts}
    ${folder}=                Make Folder
    ${world}    ${seconds}=    Write Update World    ${folder}    ${UPDATE}    &{facts}
    Start Box                 ${world}    ${FIRMWARE}
    Run Box                   ${seconds}
    Save Box                  ${folder}
    RETURN                    ${folder}

Refuses An Image
    [Arguments]               &{facts}
    ${folder}=                Send Image    &{facts}
    ${starts}=                Starts Of    ${folder}
    Should Be Equal As Integers    ${starts}    1
    ${codes}=                 Log Codes Of    ${folder}
    Should Not Contain        ${codes}    ${52}
    ${changed}=               Flash Differs Outside Slot B    ${FIRMWARE}    ${folder}/flash.bin
    Should Not Be True        ${changed}
