from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from datalake_utils.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("17", 17),
        ("17 B", 17),
        ("512 MiB", 512 * 1024**2),
        (" 512mib ", 512 * 1024**2),
        ("1.5 GiB", 1_610_612_736),
        ("64k", 65_536),
        ("2 GB", 2_000_000_000),
        ("0.1 KB", 100),
        ("3 PiB", 3 * 1024**5),
    ],
)
def test_a_size_is_read_as_people_write_it(text: str, size: int) -> None:
    """Binary and decimal units, any case, with and without a space."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "MiB", "-1", "1 XB", "1e3", "1 Mi B", "0.5", "1.0001 KiB", "nan", "1,5 GB", "٣ MB"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    """The message repeats what was given."""
    with pytest.raises(ValueError, match="is not a") as caught:
        parse_size(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (512 * 1024**2, "512 MiB"),
        (1024**2 - 1, "1 MiB"),
        (1024**5 * 5000, "5000 PiB"),
    ],
)
def test_a_size_is_written_with_the_largest_unit_that_fits(size: int, text: str) -> None:
    """One decimal place at most, and never 1024 of a unit that has a larger one."""
    assert format_size(size) == text


def test_a_negative_size_is_refused() -> None:
    """Nothing has fewer than zero bytes."""
    with pytest.raises(ValueError, match="negative"):
        format_size(-1)


@given(st.integers(min_value=0, max_value=1024**6))
@example(1024**3 - 1)
def test_a_written_size_reads_back_to_within_half_a_tenth(size: int) -> None:
    """What format_size writes, parse_size reads, rounding apart."""
    text = format_size(size)
    number, unit = text.split()
    factor = parse_size(f"1 {unit}")
    assert abs(float(number) * factor - size) <= factor * 0.05 + 1


@given(st.integers(min_value=0, max_value=10_000), st.sampled_from(["B", "KiB", "MiB", "GiB", "KB", "MB"]))
def test_whole_numbers_of_a_unit_are_exact(number: int, unit: str) -> None:
    """No float stands between the text and the bytes."""
    assert parse_size(f"{number} {unit}") == number * parse_size(f"1{unit}")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("0", 0.0),
        ("250ms", 0.25),
        ("90s", 90.0),
        ("1.5 h", 5400.0),
        ("5 min", 300.0),
        ("1h30m", 5400.0),
        ("1 h 30 m", 5400.0),
        ("2d", 172_800.0),
        ("1M", 60.0),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: str, seconds: float) -> None:
    """Parts add up."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1s", "1x", "30m1h", "1h1h", "1h30", "1m5min", "inf", "1e3s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Parts out of order, twice, or without a unit are mistakes, not sums."""
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.25, "250ms"),
        (0.9996, "1s"),
        (4.2, "4.2s"),
        (59.97, "1m"),
        (90, "1m30s"),
        (3600, "1h"),
        (3605, "1h"),
        (183_600, "2d3h"),
    ],
)
def test_a_duration_is_written_with_its_two_largest_units(seconds: float, text: str) -> None:
    """Precision that nobody reads is left out."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_a_duration_that_no_clock_can_show_is_refused(seconds: float) -> None:
    """A negative or endless duration is an error of the caller."""
    with pytest.raises(ValueError, match="finite"):
        format_duration(seconds)


@given(st.floats(min_value=0, max_value=10_000_000))
def test_a_written_duration_reads_back_nearly(seconds: float) -> None:
    """What format_duration writes, parse_duration reads, to the smaller of its two units."""
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=0.05, abs=0.0005)
