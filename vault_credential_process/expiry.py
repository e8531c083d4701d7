"""Pure arithmetic on time: how long credentials really live, when to refresh them, how to write it down.

All times are seconds since the epoch, UTC; all spans are seconds.
"""

from __future__ import annotations

import datetime
import math
import re
import time
from collections.abc import Callable

from vault_credential_process.errors import DeadlineError

REFRESH_WINDOW = 16 * 60
"""W: how much life credentials must have left to be handed out from a cache.

botocore starts to refresh at 15 min left and, inside that window, runs a ``credential_process`` on every
use (``botocore.credentials``, ``_DEFAULT_ADVISORY_REFRESH_TIMEOUT``); a minute more keeps us out of it.
"""

STS_MINIMUM = 900
"""The shortest life STS gives (``AssumeRole``, ``DurationSeconds``)."""

HUNDRED_YEARS = 100 * 365 * 86400
"""The longest span that is believed; a longer one is a mistake, and would break the calendar of some SDK."""

_LAST_SECOND = 253402300799.0
"""The end of the year 9999."""

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(\.\d{1,12})?(?:([Zz])|([+-])(\d\d):(\d\d))", re.ASCII
)


def parse_duration(text: str) -> float:
    """Return the seconds in ``45``, ``45s``, ``15m``, ``1h30m`` or ``1d``, as Vault writes durations.

    :raises ValueError: when the text is anything else, or longer than a hundred years.
    """
    text = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        seconds = float(text)
    elif re.fullmatch(rf"(?:{_DURATION_PART.pattern})+", text, re.ASCII):
        seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION_PART.findall(text))
    else:
        raise ValueError("not a duration; write 900, 900s, 15m or 1h30m")
    if seconds > HUNDRED_YEARS:
        raise ValueError("longer than a hundred years")
    return seconds


def parse_timestamp(text: str) -> float:
    """Return the seconds since the epoch of an RFC 3339 time, nanoseconds allowed, as Go writes it.

    :raises ValueError: when the text is no such time, or names no zone.
    """
    match = _RFC3339.fullmatch(text.strip())
    if match is None:
        raise ValueError("not an RFC 3339 time with a zone")
    year, month, day, hour, minute, second, fraction, zulu, sign, zone_hours, zone_minutes = match.groups()
    offset = datetime.timedelta()
    if not zulu:
        offset = datetime.timedelta(hours=int(zone_hours), minutes=int(zone_minutes)) * (1 if sign == "+" else -1)
    try:
        moment = datetime.datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=datetime.timezone(offset)
        )
        seconds = moment.astimezone(datetime.timezone.utc).timestamp()
    except (ValueError, OverflowError):
        raise ValueError("not a time that exists") from None
    # Close to the next second the nearest float is that second, which may be of a year that no calendar has.
    return min(seconds + float(fraction or 0), _LAST_SECOND)


def format_timestamp(moment: float) -> str:
    """Return ``YYYY-MM-DDTHH:MM:SSZ``, the one form that every AWS SDK takes, rounded down.

    ``moment`` lies in the years 1 to 9999.
    """
    found = datetime.datetime.fromtimestamp(math.floor(moment), datetime.timezone.utc)
    return found.replace(tzinfo=None).isoformat() + "Z"


def sts_expiry(*, asked_at: float, age: float, lease_duration: float, data_ttl: float | None) -> float:
    """When STS credentials end: ``data.ttl`` where present (Vault 1.13 and later), else ``lease_duration``.

    ``data.ttl`` may exceed ``lease_duration``, and the credentials then really live that long. Vault 1.13.0
    answers ``lease_duration`` 0 (hashicorp/vault#19513); with neither, STS's own minimum is what is certain.
    ``age`` is the ``Age`` header of an answer that a Vault Agent or Proxy gave from its cache: the duration
    in it is the original one.
    """
    life = data_ttl or lease_duration or STS_MINIMUM
    return asked_at - age + life


def iam_user_expiry(
    *, asked_at: float, age: float, lease_duration: float, token_expiry: float | None, fallback: float
) -> float:
    """When ``iam_user`` keys end: with their lease or with the token that asked for it, whichever is earlier.

    Vault deletes the IAM user when the token goes, whatever ``lease_duration`` says (hashicorp/vault#26641,
    #4154, #9728). ``fallback`` bounds an answer that states no duration at all.
    """
    end = asked_at - age + (lease_duration or fallback)
    return end if token_expiry is None else min(end, token_expiry)


def static_expiry(*, asked_at: float, age: float, expiration: float | None, interval: float) -> float:
    """When static credentials should be read again: at ``data.expiration`` (Vault 1.18), else after ``interval``.

    The old key outlives one rotation. An overdue rotation leaves the keys valid, so at least a minute is
    stated: an expiration in the past would make every SDK refuse a good key.
    """
    if expiration is None:
        return asked_at - age + interval
    return max(expiration, asked_at + 60)


def refresh_margin(life: float) -> float:
    """Return the seconds of life below which credentials are no longer handed out from a cache but refreshed.

    With W = :data:`REFRESH_WINDOW`: a life over 2 W is refreshed at W; a shorter one at a quarter of its
    life, but at least at 60 s (at half its life where that is under 2 min).
    """
    if life > 2 * REFRESH_WINDOW:
        return REFRESH_WINDOW
    if life < 120:
        return life / 2
    return max(life / 4, 60)


class Deadline:
    """The one time limit of a call, on the monotonic clock: lock, retries, login, read and probe share it."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic, *, already: float = 0.0) -> None:
        """Begin now; ``already`` seconds of it have passed before."""
        self.seconds = seconds
        self._clock = clock
        self._end = clock() + seconds - already

    def remaining(self, waiting_for: str) -> float:
        """Seconds left.

        :raises DeadlineError: when there are none; the message names what was waited for.
        """
        left = self._end - self._clock()
        if left <= 0:
            raise DeadlineError(
                f"gave up after {self.seconds:g} s while waiting for {waiting_for}; "
                "check that Vault answers, or raise vault_aws_timeout"
            )
        return left

    def at_most(self, seconds: float) -> Deadline:
        """Return a deadline that begins now, of so many seconds, but no later than this one."""
        return Deadline(min(seconds, max(self._end - self._clock(), 0.0)), self._clock)

    def sleep(self, seconds: float, waiting_for: str) -> None:
        """Sleep, but never past the deadline.

        :raises DeadlineError: when the pause would pass it, at once: waiting would be in vain.
        """
        if seconds >= self.remaining(waiting_for):
            raise DeadlineError(
                f"gave up before {self.seconds:g} s had passed: the next try of {waiting_for} would come too late; "
                "check that Vault answers, or raise vault_aws_timeout"
            )
        time.sleep(seconds)
