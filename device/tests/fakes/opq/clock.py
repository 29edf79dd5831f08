"""A clock whose state is set by the test."""

FREE, ACQUIRING, LOCKED, HOLDOVER = range(4)

state = FREE
polls = 0
temperatures = []
configured = []
synced = []
wrong = 0
damaged_messages = 0
learnt_value = None


def configure(*facts):
    configured.append(facts)


def poll():
    global polls
    polls += 1


def second(temperature_c):
    temperatures.append(temperature_c)
    return state


def sync(t_ns, uncertainty_ns, ntp):
    synced.append((t_ns, uncertainty_ns, ntp))


def labels_wrong():
    return wrong


def damaged():
    return damaged_messages


def seen():
    return (9, 213069444, -1578583333)


def learnt():
    return learnt_value
