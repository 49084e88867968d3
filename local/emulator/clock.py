"""What a part of the emulator takes for the time: it can be moved on, and nothing else moves with it."""

import time


class Clock:
    """Stands for the module `time` in the part whose clock it is. ahead: so many seconds it has been moved on."""

    sleep = staticmethod(time.sleep)

    def __init__(self) -> None:
        self.ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead
