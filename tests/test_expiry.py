"""How long credentials really live, when they are refreshed, and how a moment is written."""

from __future__ import annotations

import math
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_credential_process import expiry
from vault_credential_process.errors import DeadlineError

NOW = 1_795_465_023.0  # 2026-11-23T20:17:03Z
DAY = 86400.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45", 45),
        ("0", 0),
        ("1.5", 1.5),
        ("45s", 45),
        ("15m", 900),
        ("1h30m", 5400),
        ("1d", 86400),
        ("1d2h3m4s", 93784),
        ("500ms", 0.5),
        ("1.5h", 5400),
        (" 20s ", 20),
        ("768h", 2764800),
    ],
)
def test_duration_is_read_as_vault_writes_it(text: str, seconds: float) -> None:
    """Plain seconds and Go's units, alone or in a row, are understood."""
    assert expiry.parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-5",
        "-5m",
        "+5",
        "5 m",
        "m",
        "1h30",
        "five",
        "1e3",
        "inf",
        "nan",
        "1y",
        "1,5",
        "٣",
        "٣m",
        "1..5s",
        "0x10",
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Anything else is an error that shows the right form."""
    with pytest.raises(ValueError, match="not a duration; write 900, 900s, 15m or 1h30m"):
        expiry.parse_duration(text)


@pytest.mark.parametrize("text", ["36501d", "3153600001", "9" * 400, "1d" + "9" * 400 + "ms"])
def test_duration_longer_than_a_century_is_refused(text: str) -> None:
    """A number that no calendar could bear is a slip of the pen."""
    with pytest.raises(ValueError, match="longer than a hundred years"):
        expiry.parse_duration(text)


@given(st.integers(0, 10**4), st.integers(0, 10**5), st.integers(0, 10**6), st.integers(0, 10**6))
def test_duration_is_the_sum_of_its_parts(days: int, hours: int, minutes: int, seconds: int) -> None:
    """Days, hours, minutes and seconds add up, whatever they are."""
    expected = days * 86400 + hours * 3600 + minutes * 60 + seconds

    assert expiry.parse_duration(f"{days}d{hours}h{minutes}m{seconds}s") == expected


@given(st.text() | st.text("0123456789.smhd -+e", max_size=12))
def test_duration_of_any_text_is_finite_or_refused(text: str) -> None:
    """No text gives anything but a span between zero and a century, or a ``ValueError``."""
    try:
        seconds = expiry.parse_duration(text)
    except ValueError:
        return
    assert 0 <= seconds <= expiry.HUNDRED_YEARS


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-23T20:17:03Z", NOW),
        ("2026-11-23t20:17:03z", NOW),
        ("2026-11-23 20:17:03Z", NOW),
        (" 2026-11-23T20:17:03Z\n", NOW),
        ("2026-11-23T20:17:03.292316793Z", NOW + 0.292316793),
        ("2026-11-23T21:17:03+01:00", NOW),
        ("2026-11-23T14:47:03-05:30", NOW),
        ("1970-01-01T00:00:00Z", 0.0),
        ("0001-01-01T00:00:00Z", -62135596800.0),
    ],
)
def test_timestamp_is_read_as_go_writes_it(text: str, moment: float) -> None:
    """RFC 3339 with any zone and up to nanoseconds is understood."""
    assert expiry.parse_timestamp(text) == pytest.approx(moment, abs=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-23T20:17:03",  # no zone: whose clock?
        "2026-11-23",
        "2026-11-23T20:17Z",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T20:17:03+99:00",
        "2026-11-23T20:17:03+0100",
        "9999-12-31T23:59:59-23:59",  # year 10000 in UTC
        "0001-01-01T00:00:00+23:59",  # year 0 in UTC
        "٢٠٢٦-11-23T20:17:03Z",
        "1795465023",
        "now",
    ],
)
def test_what_is_no_timestamp_is_refused(text: str) -> None:
    """A time without a zone, or one that does not exist, is an error."""
    with pytest.raises(ValueError, match="not "):
        expiry.parse_timestamp(text)


@given(st.floats(0, 253_370_764_800))
def test_timestamp_is_written_in_one_form_and_rounded_down(moment: float) -> None:
    """Every moment comes out as ``YYYY-MM-DDTHH:MM:SSZ`` and reads back as its whole second, never a later one."""
    text = expiry.format_timestamp(moment)

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text, re.ASCII)
    assert math.floor(moment) == expiry.parse_timestamp(text)


@given(st.text() | st.from_regex(r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)\Z"))
def test_timestamp_of_any_text_can_be_written_or_is_refused(text: str) -> None:
    """What is accepted can always be written down again; all else is a ``ValueError``."""
    try:
        moment = expiry.parse_timestamp(text)
    except ValueError:
        return
    assert expiry.format_timestamp(moment).endswith("Z")


@pytest.mark.parametrize(
    ("lease_duration", "data_ttl", "age", "life"),
    [
        (900, 899, 0, 899),
        (900, None, 0, 900),  # before Vault 1.13
        (3600, 900, 0, 900),  # the shorter data.ttl goes first
        (900, 43200, 0, 43200),  # and so does the longer
        (0, 3599, 0, 3599),  # Vault 1.13.0 with data.ttl
        (0, None, 0, 900),  # Vault 1.13.0 without: STS's own minimum is what is certain
        (900, 899, 300, 599),  # from the cache of an Agent: the durations are the original ones
        (3600, None, 3600, 0),
        (0, None, 300, 600),
    ],
)
def test_sts_credentials_live_as_long_as_sts_made_them(
    lease_duration: float, data_ttl: float | None, age: float, life: float
) -> None:
    """``data.ttl`` goes before ``lease_duration`` in both directions, and the age of the answer is subtracted."""
    end = expiry.sts_expiry(asked_at=NOW, age=age, lease_duration=lease_duration, data_ttl=data_ttl)

    assert end - NOW == life


@pytest.mark.parametrize(
    ("lease_duration", "token_life", "age", "life"),
    [
        (32 * DAY, 20, 0, 20),  # the lease says 32 days, the token has 20 s
        (32 * DAY, 2, 0, 2),
        (32 * DAY, None, 0, 32 * DAY),  # a root token: only the lease ends them
        (600, 3600, 0, 600),
        (0, 7200, 0, 3600),  # no duration at all: the fallback bounds it
        (0, 20, 0, 20),
        (3600, 7200, 600, 3000),
        (3600, 1800, 600, 1800),  # the token's end is known by itself; the answer's age does not move it
    ],
)
def test_iam_user_dies_with_its_lease_or_its_token(
    lease_duration: float, token_life: float | None, age: float, life: float
) -> None:
    """The earlier of the two ends counts."""
    end = expiry.iam_user_expiry(
        asked_at=NOW,
        age=age,
        lease_duration=lease_duration,
        token_expiry=None if token_life is None else NOW + token_life,
        fallback=3600,
    )

    assert end - NOW == life


@pytest.mark.parametrize(
    ("expiration", "age", "life"),
    [(None, 0, 3600), (None, 600, 3000), (7200, 0, 7200), (7200, 600, 7200), (-5, 0, 60), (30, 0, 60), (61, 0, 61)],
)
def test_static_credentials_are_read_again_at_their_rotation(expiration: float | None, age: float, life: float) -> None:
    """``data.expiration`` counts where present, else the interval; an overdue rotation still leaves a minute."""
    given_end = None if expiration is None else NOW + expiration
    end = expiry.static_expiry(asked_at=NOW, age=age, expiration=given_end, interval=3600)

    assert end - NOW == life


@pytest.mark.parametrize(
    ("life", "margin"),
    [
        (2, 1),
        (60, 30),
        (119, 59.5),
        (120, 60),
        (200, 60),
        (240, 60),
        (300, 75),
        (900, 225),
        (1920, 480),  # exactly 2 W is not more than 2 W
        (1921, 960),
        (3600, 960),
        (32 * DAY, 960),
    ],
)
def test_refresh_margin_is_scaled_to_the_life(life: float, margin: float) -> None:
    """W for long lives, a quarter but at least a minute for shorter ones, half for the shortest."""
    assert expiry.refresh_margin(life) == margin


@given(st.floats(0.001, 1e9))
def test_fresh_credentials_are_always_handed_out(life: float) -> None:
    """The margin is less than the whole life, so that no lease is refreshed on every use."""
    assert 0 < expiry.refresh_margin(life) < life


def test_refresh_window_is_ahead_of_botocore() -> None:
    """A cached answer is never handed out inside the window in which botocore asks again on every use."""
    from botocore import credentials

    assert credentials._DEFAULT_ADVISORY_REFRESH_TIMEOUT < expiry.REFRESH_WINDOW


def test_deadline_counts_down_and_names_what_was_waited_for() -> None:
    """What is left shrinks with the clock; past the end the error says what was waited for and for how long."""
    now = [100.0]
    deadline = expiry.Deadline(45, clock=lambda: now[0])
    now[0] = 130.0
    assert deadline.remaining("GET aws/creds/webapp") == 15
    now[0] = 145.0

    with pytest.raises(DeadlineError, match=r"gave up after 45 s while waiting for GET aws/creds/webapp; .*timeout"):
        deadline.remaining("GET aws/creds/webapp")


@pytest.mark.parametrize("pause", [10.0, 10.5, 3600.0])
def test_deadline_does_not_sleep_in_vain(pause: float) -> None:
    """A pause that would pass the deadline is refused at once."""
    deadline = expiry.Deadline(10, clock=lambda: 0.0)

    with pytest.raises(DeadlineError, match="the next try of POST auth/approle/login would come too late"):
        deadline.sleep(pause, "POST auth/approle/login")


def test_deadline_error_has_its_exit_code() -> None:
    """A passed deadline ends the command with 7."""
    assert DeadlineError.exit_code == 7


def test_deadline_sleeps_where_there_is_time() -> None:
    """A pause that fits is slept through."""
    began = time.monotonic()
    expiry.Deadline(10).sleep(0.005, "POST auth/approle/login")

    assert time.monotonic() - began >= 0.005


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999999999Z"])
def test_last_moment_of_the_calendar_can_be_written(text: str) -> None:
    """The nearest number to a moment just before the year 10000 is still of the year 9999."""
    assert expiry.format_timestamp(expiry.parse_timestamp(text)) == "9999-12-31T23:59:59Z"


@pytest.mark.parametrize(("moment", "text"), [(-60e9, "0068-09-03T13:20:00Z"), (-0.5, "1969-12-31T23:59:59Z")])
def test_early_moment_is_written_in_the_same_form(moment: float, text: str) -> None:
    """A year has four digits, and a moment before 1970 is rounded down, too."""
    assert expiry.format_timestamp(moment) == text
