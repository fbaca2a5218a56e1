"""Single flight over the targets that plans share."""

from __future__ import annotations

from responder.engine.claims import Claims


def test_a_target_belongs_to_the_incident_that_claimed_it_first_until_that_one_lets_go() -> None:
    claims = Claims()
    assert claims.take("db", "inc_1") == ""
    assert claims.take("db", "inc_1") == "", "it may ask again"
    assert claims.take("db", "inc_2") == "inc_1"
    assert claims.holder("db") == "inc_1"
    claims.let_go("inc_1")
    assert claims.holder("db") == ""
    assert claims.take("db", "inc_2") == ""


def test_the_end_of_one_incident_frees_no_target_of_another() -> None:
    claims = Claims()
    claims.take("app", "inc_1")
    claims.take("db", "inc_2")
    claims.let_go("inc_1")
    assert claims.take("db", "inc_3") == "inc_2"
