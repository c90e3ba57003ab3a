"""What happened before what, by vector clocks; memory that notices accesses which nothing orders."""

from dataclasses import dataclass

Moment = tuple["Clock", int]  # so many steps of a clock's own
Known = dict["Clock", int]  # how far somebody knows each clock to be


class Clock:
    """Whoever does one thing after the other: a stream, or the host.

    All of the host's threads share one: Python's own locks order what they do, and are not what is tested here.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.known: Known = {}

    def step(self) -> Moment:
        """Something is done here: its moment."""
        self.known[self] = self.known.get(self, 0) + 1
        return self, self.known[self]

    def learn(self, known: Known) -> None:
        for clock, steps in known.items():
            if self.known.get(clock, 0) < steps:
                self.known[clock] = steps


@dataclass(frozen=True)
class Access:
    """Bytes [begin, end) of a memory, read or written at a moment, with what was known then."""

    begin: int
    end: int
    writes: bool
    moment: Moment
    known: Known
    what: str

    def is_after(self, other: "Access") -> bool:
        return self.known.get(other.moment[0], 0) >= other.moment[1]

    def covers(self, other: "Access") -> bool:
        """Whoever collides with the other one and comes later collides with this one, too."""
        return self.begin <= other.begin and other.end <= self.end and (self.writes or not other.writes)

    def __str__(self) -> str:
        return f"{self.what} ({self.moment[0].name})"


class Accesses:
    """Accesses to one memory, as far as a later one can still collide with them."""

    PAGE = 1 << 12  # bytes that are looked through together

    def __init__(self) -> None:
        self._pages: dict[int, list[Access]] = {}

    def add(self, new: Access) -> list[str]:
        """Note an access that happens now; the collisions with earlier ones, in words."""
        found: dict[int, str] = {}
        for page in range(new.begin // self.PAGE, -(-new.end // self.PAGE)):
            kept = []
            for old in self._pages.get(page, ()):
                if old.end <= new.begin or new.end <= old.begin:
                    kept.append(old)
                elif not new.is_after(old):
                    kept.append(old)
                    if new.writes or old.writes:
                        found[id(old)] = f"{new} and {old} are in no order"
                elif not new.covers(old):
                    kept.append(old)
            self._pages[page] = [*kept, new]
        return list(found.values())
