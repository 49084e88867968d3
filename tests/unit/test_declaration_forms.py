"""The public forms: what anybody declares without a link is recorded and confirmed at once, the same for everybody."""

import re
from datetime import timedelta
from urllib.parse import unquote

import pytest

from renewals.domain.declarations import DeclarationKind, Fault
from renewals.language.tags import LANGUAGES
from scripts.page_samples import samples
from tests.desk import FORM, Desk
from tests.fake_aws import error
from tests.visitor import ANN, DAY


@pytest.mark.parametrize("path", ["", "link/nonsense"])
def test_the_start_page_and_the_404_page_lead_to_the_offered_forms(desk: Desk, path: str) -> None:
    """The start page and the 404 page lead to both forms, in German by the law's own words."""
    shown = desk.visitor.get(path, Accept_Language="de-DE,de;q=0.9")
    found = re.findall(r'<a class="button plain" href="([^"]+)">([^<]+)</a>', shown.html)
    assert found[-2:] == [
        ("/prod/account/cancellation", "Verträge hier kündigen"),
        ("/prod/account/withdrawal", "Vertrag widerrufen"),
    ]


@pytest.mark.parametrize("kind", list(DeclarationKind))
def test_the_form_has_the_law_s_words_on_its_button(desk: Desk, kind: DeclarationKind) -> None:
    """The button of the German form says the law's words and nothing else, and the form needs no session."""
    button = {"cancellation": "jetzt kündigen", "withdrawal": "Widerruf bestätigen"}[kind]
    shown = desk.visitor.get(kind, Accept_Language="de")
    assert shown.status == 200
    assert re.findall(r"<button>(.*?)</button>", shown.html) == [button]
    assert shown.cookie is None


@pytest.mark.parametrize("kind", list(DeclarationKind))
def test_a_form_is_offered_only_if_its_parameter_says_so(
    desk: Desk, kind: DeclarationKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A form that is off is no page, takes no declaration, and no page leads there; the other form stays."""
    monkeypatch.setenv(f"{kind.value.upper()}_FORM", "off")
    [other] = set(DeclarationKind) - {kind}
    assert desk.visitor.get(kind).status == 404
    assert desk.visitor.post(kind, FORM).status == 404
    assert desk.records == []
    home = desk.visitor.get("").html
    assert f"/account/{kind}" not in home
    assert f"/account/{other}" in home


def test_a_cancellation_is_confirmed_at_once_with_date_time_number_and_content(desk: Desk) -> None:
    """The answer names the number, the moment by the business's clock, and each word that was declared; all of it can
    be saved as a text."""
    shown = desk.declare(way="extraordinary", reason="Moved <abroad>", wished="2026-12-31")
    assert shown.status == 200
    number = desk.records[0]["number"]
    assert re.fullmatch(r"C20260131-120001-[0-9A-F]{8}", number)
    said = ("31 January 2026, 12:00:01 UTC+00", number, "Ann Lee", "sub_1", ANN, "Moved <abroad>", "31 December 2026")
    for each in said:
        assert each in shown.text, each
    [saved] = re.findall(r'href="data:text/plain;charset=utf-8,([^"]*)" download="([^"]*)"', shown.html)
    assert saved[1] == f"{number}.txt"
    for each in (*said, "Example Shop", "Extraordinary"):
        assert each in unquote(saved[0]), each
    assert desk.records[0] == {
        "declaration": desk.records[0]["declaration"],
        "number": number,
        "kind": "cancellation",
        "declared_at": "2026-01-31T12:00:01.000000+00:00",
        "name": "Ann Lee",
        "contract": "sub_1",
        "address": ANN,
        "way": "extraordinary",
        "reason": "Moved <abroad>",
        "wished": "2026-12-31",
        "state": "new",
        "expires_at": 1893456000,  # the end of 2029
    }


def test_everybody_gets_the_same_answer_after_the_same_work(desk: Desk) -> None:
    """A declaration that fits, and declarations about an unknown address or contract, get the same answer but for the
    typed words and the number, after the same single write, which also counts the source: the answer tells nothing
    about who is a customer."""
    answers, work = set(), set()
    desk.declare(name="The first, for which the process reads the key of the counters")
    for typed in ({}, {"address": "eve@else.example"}, {"contract": "sub_9"}):
        opened = desk.visitor.get("cancellation").fields
        desk.shop.cuts.calls.clear()
        told = desk.visitor.post("cancellation", opened | FORM | typed).html
        work.add(tuple(desk.shop.cuts.calls))
        for each in (*re.findall(r"C\d{8}-\d{6}-[0-9A-F]{8}", told), *(FORM | typed).values()):
            told = told.replace(each, "·") if each else told
        answers.add(re.sub(r'href="data:[^"]*"', "", told))
    assert len(answers) == 1
    assert work == {("dynamodb.TransactWriteItems",)}
    assert desk.shop.row().get("version") is None


def test_a_form_that_is_sent_twice_is_recorded_once(desk: Desk) -> None:
    """A form that is sent again gets the answer of the first time, with its number and moment; another word makes
    another declaration."""
    form = desk.visitor.get("cancellation").fields | FORM
    first = desk.visitor.post("cancellation", form)
    desk.visitor.now += timedelta(minutes=59)
    assert desk.visitor.post("cancellation", form).html == first.html
    assert len(desk.records) == 1
    desk.visitor.post("cancellation", form | {"name": "Ann Lea"})
    assert len(desk.records) == 2


def test_a_form_that_is_sent_again_later_is_a_new_declaration(desk: Desk) -> None:
    """A page that stays open for days can declare again: a form that is sent again after an hour is recorded under a
    new number, and the worker looks at the new declaration. A form that is sent twice then is recorded once, too."""
    form = desk.visitor.get("cancellation").fields | FORM
    numbers = set()
    for later in (timedelta(0), timedelta(hours=1), 2 * DAY, timedelta(minutes=5), 30 * DAY):
        desk.visitor.now += later
        assert desk.visitor.post("cancellation", form).status == 200
        desk.work()
        numbers.add(desk.records[-1]["number"])
    assert len(desk.records) == len(numbers) == 4
    assert {each["state"] for each in desk.records} <= {"effective", "for_a_person"}


def test_a_customer_who_has_resumed_can_declare_again_by_the_open_form(desk: Desk) -> None:
    """A customer declares, resumes two days later, and sends the form that is still open: the second declaration is
    recorded, and a person hears of the declaration."""
    form = desk.visitor.get("cancellation").fields | FORM
    desk.visitor.post("cancellation", form)
    desk.work()
    desk.visitor.now += 2 * DAY
    desk.visitor.sign_in()
    assert desk.visitor.press("resume").status == 303
    desk.visitor.post("cancellation", form)
    desk.work()
    assert len(desk.records) == 2
    assert desk.records[-1]["state"] != "new"


@pytest.mark.parametrize("without", [{}, {"id": ""}])
def test_forms_without_an_id_are_declarations_of_their_own(desk: Desk, without: dict[str, str]) -> None:
    """Two programs that send the same words without the page's random id declare twice: nobody can tell whether they
    are one sender. A form that is shown again for a fault has an id, so that it can be sent twice."""
    for _ in range(2):
        assert desk.visitor.post("cancellation", FORM | without).status == 200
    assert len(desk.records) == 2
    shown = desk.visitor.post("cancellation", FORM | without | {"name": ""})
    assert re.fullmatch("[0-9a-f]{32}", shown.fields["id"])


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"name": " "}, "Your name: Please enter your name."),
        ({"contract": ""}, "Contract: Please enter the number that our mails call Subscription"),
        ({"address": "ann"}, "Your mail address: Please enter a whole mail address."),
        ({"way": "extraordinary"}, "Reason: Please enter the reason"),
        ({"wished": "31.12.2026"}, "End of the contract: Please enter the day"),
        ({"name": "x" * 201}, "One of the entries is too long."),
        ({"contract": "x" * 16_000}, "One of the entries is too long."),
    ],
)
def test_a_form_with_a_fault_records_nothing_and_keeps_what_was_typed(
    desk: Desk, typed: dict[str, str], said: str
) -> None:
    """A form that lacks what the law names is shown again with the fault and the typed words, and the mended form is
    recorded."""
    shown = desk.declare(**typed)
    assert shown.status == 422
    assert said in shown.text
    assert desk.records == []
    kept = FORM | typed
    assert f'value="{kept["name"]}"' in shown.html or not kept["name"].strip()
    assert desk.visitor.post("cancellation", shown.fields | FORM).status == 200


@pytest.mark.parametrize("tag", LANGUAGES)
def test_each_error_names_the_label_of_its_field_and_leads_to_the_field(tag: str) -> None:
    """In each language an error begins with the label of the field as the form shows the label, and is a link to the
    field. A text that is too long may be in any field."""
    shown = {each.name: each.html for each in samples(tag)}["cancellation_faults"]
    labels = dict(re.findall(r'<label for="(\w+)">(.*?)</label>', shown))
    errors = dict(re.findall(r'<li><a href="#(\w+)">(.*?)</a></li>', shown))
    assert labels.keys() == errors.keys() == {"name", "contract", "address", "reason", "wished"}
    said = {field: re.sub("</?bdi>", "", error) for field, error in errors.items()}
    assert [field for field in labels if not said[field].startswith(labels[field])] == []
    assert shown.count("<li>") == len(Fault)


def test_a_get_records_nothing(desk: Desk) -> None:
    """A scanner that follows every link, also with the fields in the address, declares nothing."""
    for path in ("cancellation", "withdrawal", "cancellation?name=Ann&contract=sub_1&address=ann%40customer.example"):
        assert desk.visitor.get(path).status == 200
    assert desk.records == []


def test_a_form_from_elsewhere_records_nothing(desk: Desk) -> None:
    """A hostile page cannot declare in the name of its visitor."""
    form = desk.visitor.get("cancellation").fields | FORM
    assert desk.visitor.post("cancellation", form, Origin="https://evil.example").status == 403
    assert desk.records == []


def test_a_source_sends_ten_forms_an_hour(desk: Desk) -> None:
    """One source may send ten declarations in an hour, whatever its headers say; another source, and the next hour,
    have a count of their own. Beyond the limit, nothing is recorded and the answer says so."""
    for n in range(12):
        form = desk.visitor.get("withdrawal").fields | FORM
        shown = desk.visitor.post("withdrawal", form, X_Forwarded_For=f"198.51.100.{n}")
        assert shown.status == (200 if n < 10 else 429)
    assert "Nothing was recorded" in shown.text
    assert len(desk.records) == 10
    assert shown.fields["id"] == form["id"]
    assert f'value="{FORM["name"]}"' in shown.html
    desk.visitor.source = "203.0.113.8"
    assert desk.declare().status == 200
    desk.visitor.source = "203.0.113.7"
    desk.visitor.now += timedelta(hours=1)
    assert desk.declare().status == 200


def test_a_form_that_is_sent_again_is_answered_beyond_the_limit(desk: Desk) -> None:
    """A recorded form that is sent again gets the answer of the first time, however often and also beyond the limit,
    and takes no part of the limit: the page never says "nothing was recorded" of what is recorded."""
    form = desk.visitor.get("cancellation").fields | FORM
    answers = {desk.visitor.post("cancellation", form).html for _ in range(12)}
    assert len(answers) == len(desk.records) == 1
    for n in range(9):
        assert desk.declare(name=f"Colleague {n}").status == 200
    assert desk.declare(name="One too many").status == 429
    assert desk.visitor.post("cancellation", form).html in answers
    assert len(desk.records) == 10


def test_a_form_beyond_the_limit_keeps_what_was_typed(desk: Desk) -> None:
    """The form that is shown beyond the limit has every typed word, and is recorded when it is sent an hour later."""
    for n in range(10):
        desk.declare(name=f"Colleague {n}")
    typed = FORM | {"way": "extraordinary", "reason": "Moved abroad", "wished": "2026-12-31"}
    shown = desk.visitor.post("cancellation", desk.visitor.get("cancellation").fields | typed)
    assert shown.status == 429
    for value in (ANN, "sub_1", "Moved abroad", "2026-12-31", 'value="extraordinary" checked'):
        assert value in shown.html
    desk.visitor.now += timedelta(hours=1)
    assert desk.visitor.post("cancellation", shown.fields | typed).status == 200


def test_what_was_answered_as_recorded_is_recorded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a table takes no write, the page says so and confirms nothing, and the form can be sent again."""
    form = desk.visitor.get("cancellation").fields | FORM
    with monkeypatch.context() as patch:
        busy = error("ProvisionedThroughputExceededException", "transact_write_items")
        patch.setattr(desk.shop.dynamodb, "transact_write_items", lambda **_: (_ for _ in ()).throw(busy))
        shown = desk.visitor.post("cancellation", form)
    assert shown.status == 503
    assert "If nothing was confirmed to you" in shown.text
    assert desk.records == []
    assert desk.visitor.post("cancellation", form).status == 200


def test_nothing_that_was_typed_is_logged(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """The logs name a declaration by its number alone."""
    desk.declared(name="Planted Name", contract="planted contract", way="extraordinary", reason="planted reason")
    logged = "".join(str(vars(record)) for record in caplog.records)
    assert desk.records[0]["number"] in logged
    assert "planted" not in logged.lower()
    assert ANN not in logged
