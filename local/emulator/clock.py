"""The clock of a part of the emulator. The clock can be moved on without moving the time of the other parts."""

import time


class Clock:
    """Replaces the module `time` in a part of the emulator. ahead: the seconds that the clock was moved on."""

    sleep = staticmethod(time.sleep)

    def __init__(self) -> None:
        self.ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead
