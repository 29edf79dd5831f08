*** Settings ***
Documentation    The line, a hang, a power cut: reported, counted, survived.
Resource         ${CURDIR}/box.resource
Test Timeout     20 minutes

*** Test Cases ***
Should Count What Is Lost While It Stands Still
    [Documentation]           50 ms are 600 samples. DMA's two halves of 40 samples keep what they hold, so the half that
    ...                       is full when the CPU goes on is read: 14 halves are lost, or 15 when it is more than three
    ...                       quarters overwritten, and the filter needs 9 samples to fill again: 569 or 609. The limits
    ...                       leave a half to each side. The stamps go on across the hole, to the tick.
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
    One Hole Is Reported      ${folder}    520    650

Should Reset By Its Watchdog And Say So
    [Documentation]           The reset ends the halt in Renode 06854d4d and not in 1.16.1: here it is ended in both.
    [Tags]                    fault
    ${folder}=                Boot Box    30.0
    Run Box                   6.0
    Execute Command           sysbus.cpu IsHalted true
    Run Box                   9.0
    ${resets}=                Counter    sysbus.iwdg Resets
    Should Be Equal As Integers    ${resets}    1
    Execute Command           sysbus.cpu IsHalted false
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
    [Documentation]           Cuts in the first, an early, a late and the last flash operation of one save; the cut
    ...                       after all of them never comes. The scenario `cuts_settings` has every operation.
    [Tags]                    fault
    ${flash}=                 Confirmed Flash
    ${old}=                   Settings After    ${flash}
    ${whole}=                 Save A Setting    ${flash}    30    end
    ${new}=                   Settings After    ${whole}/flash.bin
    One Setting Changed       ${old}    ${new}    nominal_hz    50
    ${last}=                  Flash Operations Of    ${whole}
    Should Be True            9 < ${last} < 30
    FOR    ${operation}    IN    1    2    9    ${last}
        ${torn}=              Save A Setting    ${flash}    ${operation}    cut
        ${found}=             Settings After    ${torn}/flash.bin
        Should Be True        $found in ($old, $new)    operation ${operation}: ${found}
    END

*** Keywords ***
Confirmed Flash
    [Documentation]           After its first start the Box writes nothing by itself: what is cut is the save.
    ${folder}=                Play Box    14.0    gps=none
    RETURN                    ${folder}/flash.bin

Save A Setting
    [Documentation]           From a flash; power goes in this flash operation, counted from 1. Gives the run's folder.
    [Arguments]               ${flash}    ${operation}    ${ended}
    Reset Emulation
    ${folder}=                Boot From    ${flash}    5.0    gps=none    put=nominal_hz=50    cut_after=${operation}
    Run Box                   5.01
    ${found}=                 Execute Command    sysbus.world Ended
    Should Be Equal           ${found.strip()}    ${ended}    operation ${operation}
    Save Box                  ${folder}
    RETURN                    ${folder}

Settings After
    [Documentation]           What a Box with this flash answers; it samples without a hole.
    [Arguments]               ${flash}
    Reset Emulation
    ${folder}=                Boot From    ${flash}    8.0    gps=none    get_settings=True
    Run Box                   8.0
    Save Box                  ${folder}
    No Sample Is Missing      ${folder}    6    8
    ${settings}=              Settings Of    ${folder}
    RETURN                    ${settings}
