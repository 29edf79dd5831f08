*** Settings ***
Documentation    A suite as Renode's users write one, with Renode's own keywords and nothing of ours but the platform:
...              renode-test hil/renode/robot/prompt.robot --variable OPQ_FIRMWARE_DIR:/path/to/build/firmware
Test Timeout     5 minutes

*** Variables ***
${OPQ_FIRMWARE_DIR}    %{OPQ_FIRMWARE_DIR=/nonexistent}

*** Test Cases ***
Should Come To The Prompt
    [Documentation]           The REPL jumper is set: PC9 is low. The Box gives its line to MicroPython.
    [Tags]                    smoke
    Create Box
    Execute Command           sysbus.gpioPortC Drive 9 false
    Create Terminal Tester    sysbus.usart1    timeout=5
    Wait For Line On Uart     MicroPython
    Wait For Prompt On Uart   >>>
    Provides                  prompt    Reexecution

Should Answer At The Prompt
    [Tags]                    smoke
    Requires                  prompt
    Write Line To Uart        import sys; print("answer", 6*7)
    Wait For Line On Uart     answer 42
    Wait For Prompt On Uart   >>>
    Write Line To Uart        1/0
    Wait For Line On Uart     ZeroDivisionError

Should Name Its Board At The Prompt
    [Tags]                    smoke
    Requires                  prompt
    Write Line To Uart        from opq import board; print("this is", board.NAME)
    Wait For Line On Uart     this is opqbox

Should Blink While It Samples Without A Gateway
    [Documentation]           The green LED on PB0: 1 s on, 1 s off, until a gateway sends a command (device/app/leds.py).
    [Tags]                    smoke
    Create Box
    Create LED Tester         sysbus.ledStatus    defaultTimeout=5
    Assert LED State          true
    Assert LED State          false
    Assert LED Is Blinking    testDuration=6    onDuration=1    offDuration=1    tolerance=0.1

*** Keywords ***
Create Box
    [Documentation]           Paused at power-on, in quiet.world: mains, no GPS, no gateway.
    Execute Command           $firmware=@${OPQ_FIRMWARE_DIR}/opqbox/flash.bin
    Execute Command           include @${CURDIR}/../box.resc
