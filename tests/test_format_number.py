import pytest

from messages.user_error import UserError
from settings.format_number import FormatError, check_format


@pytest.mark.parametrize(("found", "number"), [(None, 1), (1, 1), (2, 2)])
def test_older_formats_and_the_newest_are_read(found, number):
    assert check_format(found, 2, "result.json") == number


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        (3, "format 3; this version of the toolkit reads up to 2: use a newer one"),
        (10**1000, "format a number of 3,322 bits; this version of the toolkit reads up to 2: use a newer one"),
        (0, "format 0: expected a whole number from 1 to 2"),
        (-1, "format -1: expected a whole number from 1 to 2"),
        (True, "format True: expected a whole number from 1 to 2"),
        (2.0, "format 2.0: expected a whole number from 1 to 2"),
        ("2\n", r"format '2\n': expected a whole number from 1 to 2"),
        ([2], "format [2]: expected a whole number from 1 to 2"),
    ],
)
def test_other_formats_are_refused_in_one_line(found, complaint):
    with pytest.raises(FormatError) as error:
        check_format(found, 2, "result.json")
    assert str(error.value) == f"result.json: {complaint}"
    assert isinstance(error.value, UserError)
