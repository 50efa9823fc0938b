from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trainables.storage.addresses import Address, AddressError, parse_address


def parts(text: str) -> tuple[object, ...]:
    address = parse_address(text)
    return tuple(getattr(address, field.name) for field in fields(Address))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("./runs", ("", "", "./runs", None)),
        ("a?b#c/x", ("", "", "a?b#c/x", None)),
        ("://x", ("", "", "://x", None)),
        ("s3:/one/slash", ("", "", "s3:/one/slash", None)),
        ("file:///a?b#c%20d/x", ("file", "", "/a?b#c%20d/x", None)),
        ("s3://bucket", ("s3", "bucket", "", None)),
        ("S3://bucket/a#1/%41 b+c=d", ("s3", "bucket", "/a#1/%41 b+c=d", None)),
        ("s3://bucket/a#1?region=x#2", ("s3", "bucket", "/a#1", "region=x#2")),
        ("gs://bucket//a//b/", ("gs", "bucket", "//a//b/", None)),
    ],
)
def test_a_path_is_meant_as_it_is_written(text: str, expected: tuple[object, ...]) -> None:
    assert parts(text) == expected


@given(st.one_of(st.text(), st.text("sS3fileg:/?#&=%.", max_size=20)))
@example("s3://bucket/key?")
def test_the_parts_of_any_text_make_that_text(text: str) -> None:
    address = parse_address(text)
    assert parse_address(address.text) == address
    if address.scheme:  # in whatever letters and spaces it was written
        assert address.text.partition("://")[2] == text.partition("://")[2]
    else:
        assert address.text == text


@pytest.mark.parametrize(
    ("text", "parent", "name"),
    [
        ("x.pt", ".", "x.pt"),
        ("/x.pt", "/", "x.pt"),
        ("~/t#1/x?.pt", "~/t#1", "x?.pt"),
        ("file:///x.pt", "file:///", "x.pt"),
        ("s3://bucket/x.pt", "s3://bucket/", "x.pt"),
        ("s3://bucket/t#1/x.pt?region=a/b", "s3://bucket/t#1?region=a/b", "x.pt"),
        ("s3://bucket/folder/", "s3://bucket/folder", ""),
        ("s3://bucket", "s3://bucket", ""),
    ],
)
def test_a_file_has_a_folder_and_a_name(text: str, parent: str, name: str) -> None:
    address = parse_address(text)
    assert (address.parent.text, address.name) == (parent, name)


def test_options_are_decoded_and_not_shown() -> None:
    address = parse_address("s3://b/p?endpoint_override=https%3A%2F%2Fs3.example.org&scheme=http&region=")
    assert address.options == {"endpoint_override": "https://s3.example.org", "scheme": "http", "region": ""}
    assert address.shown == "s3://b/p"
    assert parse_address("./a?b").shown == "./a?b"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("s3://bucket/p?", "has nothing after its \\?; allowed after the \\? are endpoint_override, region, scheme"),
        ("s3://bucket/what?/more", "the address has /more; allowed after the \\?"),
        ("s3://bucket/p?regio=SECRET", "the address has regio; allowed after the \\?"),
        ("s3://bucket/p?scheme=http#SECRET", "unknown scheme= after its \\?; allowed: http, https"),
        ("s3://bucket/p?secret_key=SECRET", "the address holds a key"),
        ("gs://me:SECRET@bucket/p", "the address holds a key"),
        ("s3://AKIAX:SEC/RET@bucket/p", "the address holds a key"),
        ("gs://bucket/p?region=x", "but gs:// has no options"),
        (
            "https://me:SECRET@host/p?token=SECRET",
            "^https:// is not an address that can be opened; expected a folder, ",
        ),
        ("hf://user/repo/x.pt", "^hf:// is not an address that can be opened; expected a folder, file:///FOLDER, s3:"),
        ("./s3://bucket/p", "^./s3:// is not an address that can be opened"),
        ("file://host/folder", "expected file:///FOLDER"),
        ("file://", "expected file:///FOLDER"),
        ("runs\0", "null character"),
    ],
)
def test_what_would_be_ignored_or_is_a_secret_is_refused(text: str, reason: str) -> None:
    with pytest.raises(AddressError, match=reason) as caught:
        parse_address(text).check()
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["./a?b#c", "file:///me@host/a?key=b", "s3://b/a@b#c%3F?region=x", "gcs://b", "s3://b?scheme=http"]
)
def test_addresses_that_can_be_used_are_left_alone(text: str) -> None:
    parse_address(text).check()
