"""Page tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stoker_service.errors import StokerError
from stoker_service.paging import decode_token, encode_token, page_size


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_a_token_gives_its_key_back(key: str) -> None:
    assert decode_token(encode_token(key)) == key


@pytest.mark.parametrize("token", ["?", "a", "Zm9v-", "/w", "AA"])
def test_a_token_that_was_never_made_is_refused_by_name(token: str) -> None:
    with pytest.raises(StokerError) as caught:
        decode_token(token)
    assert (caught.value.reason, caught.value.field) == ("INVALID_PAGE_TOKEN", "page_token")


def test_no_page_size_means_a_hundred() -> None:
    assert (page_size(0), page_size(7)) == (100, 7)
