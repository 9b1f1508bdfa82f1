"""What is told, over which channel and how often: at least once, never for nothing, and nobody held up by anybody."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from sopwith.core.messages import Message
from sopwith.core.notifications import ChannelConfig
from sopwith.engine import noticing
from sopwith.engine.notifying import notices_document
from sopwith.engine.postman import BURST, DELAYS_SECS, PATIENCE, TRY_SECS, Postman
from sopwith.errors import NotSent, StoreError
from sopwith.ports import Notice, NoticeEnd

from .bench import BOB, Bench

GATED = {"requiresApproval": True}
DAY = 86_400.0


class HangsError(Exception):
    """The other side never answers."""


class KilledError(Exception):
    """The process is gone: nothing comes after it."""


class Channel:
    """What a channel was given; `does` may raise instead of taking it."""

    def __init__(self) -> None:
        self.tries: list[Message] = []
        self.times: list[float] = []
        self.time: Callable[[], float] = lambda: 0.0
        self.taken: list[Message] = []
        self.does: Callable[[Message], None] = lambda _message: None

    def send(self, message: Message) -> str:
        self.tries.append(message)
        self.times.append(self.time())
        self.does(message)
        self.taken.append(message)
        return "taken"

    def fail(self) -> None:
        def refuse(_message: Message) -> None:
            raise NotSent("HTTP 500")

        self.does = refuse

    def hang(self) -> None:
        def hang(_message: Message) -> None:
            raise HangsError

        self.does = hang

    def mend(self) -> None:
        self.does = lambda _message: None

    @property
    def titles(self) -> list[str]:
        return [message.title for message in self.taken]


class Post:
    """The postman of one server, and what he says."""

    def __init__(self, bench: Bench, channels: dict[str, Channel]) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.hanging: list[asyncio.Future[Any]] = []
        self._bench = bench
        self._channels = channels
        store = bench.store
        self.postman = bench.loop.run_until_complete(self._made(store))
        self.task: asyncio.Task[None] | None = None

    async def _made(self, store: Any) -> Postman:
        return Postman(self._bench.engine().parts, store.log, store.notices, self._messenger, self, beside=self._beside)

    def _messenger(self, channel: ChannelConfig) -> Channel:
        return self._channels[channel.command[0]]

    async def _beside(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except (HangsError, KilledError):
            self.hanging.append(asyncio.get_running_loop().create_future())
            return await self.hanging[-1]

    def serve(self) -> Post:
        self.task = self._bench.loop.create_task(self.postman.stay())
        return self.work()

    def work(self, seconds: float = 1.0) -> Post:
        """Somebody committed, and a while goes by."""
        self.postman.stir()
        self._bench.pass_time(seconds)
        return self

    def end(self) -> None:
        assert self.task is not None
        self.task.cancel()
        self._bench.pass_time(0)

    def on_channel_failing(self, channel: str, reason: str) -> None:
        self.said.append(("failing", channel, reason))

    def on_channel_well(self, channel: str) -> None:
        self.said.append(("well", channel))

    def on_given_up(self, channel: str, count: int, reason: str) -> None:
        self.said.append(("given up", channel, count, reason))

    def on_post_trouble(self, error: BaseException) -> None:
        self.said.append(("trouble", str(error)))


class Office:
    """A workspace whose channels are `chat` and `page`."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.channels = {"chat": Channel(), "page": Channel()}
        self.chat, self.page = self.channels.values()
        self.chat.time = bench.loop.time
        self.configure()
        bench.procedure("deploy", GATED)
        bench.procedure("quick", {})

    def configure(self, *names: str, **more: Any) -> None:
        channels = {name: {"command": [name]} for name in names or ("chat", "page")}
        self.bench.config(notifications={"channels": channels, **more})

    def open(self) -> Post:
        return Post(self.bench, self.channels).serve()

    def kept(self) -> list[Notice]:
        return list(reversed(self.bench.store.notices.newest(10_000)))

    def statuses(self, channel: str = "chat") -> list[str]:
        return [each["status"] for each in notices_document(self.kept()) if each["channel"] == channel]


@pytest.fixture
def office(bench: Bench) -> Office:
    return Office(bench)


def test_a_gate_is_told_over_every_channel_once(office: Office) -> None:
    post = office.open()
    run = office.bench.run("deploy")
    post.work()
    assert office.chat.titles == office.page.titles == ["Approval needed: deploy, step 1: Step 1"]
    assert office.chat.taken[0].document["runId"] == run.run_id
    post.work(DAY)
    assert len(office.chat.tries) == 1
    assert office.statuses() == ["sent"]
    assert post.said == []


def test_the_past_is_not_told_on_a_first_start_and_the_time_between_two_servers_is(office: Office) -> None:
    office.bench.run("deploy")
    post = office.open()
    assert office.chat.tries == []
    post.end()
    office.bench.run("quick")
    office.open()
    assert office.chat.titles == ["Completed: quick"]


def test_what_happened_while_there_was_no_channel_is_not_told(office: Office) -> None:
    office.open().end()
    office.bench.config()
    post = office.open()
    office.bench.run("quick")
    post.work()
    office.configure()
    post.work()
    assert office.chat.tries == []
    office.bench.run("quick")
    post.work()
    assert office.chat.titles == ["Completed: quick"]


def test_the_first_thing_that_happens_after_a_first_channel_is_told(office: Office) -> None:
    """Nobody tells a server that idles of a changed file: it looks when something happens, which must not be lost."""
    office.bench.config()
    office.bench.run("quick")
    post = office.open()
    office.bench.run("quick")
    post.work(3600)
    office.configure()
    office.bench.run("deploy")
    post.work()
    assert office.chat.titles == ["Approval needed: deploy, step 1: Step 1"]
    office.bench.config()
    post.work()
    office.bench.run("quick")
    post.work()
    office.configure()
    office.bench.run("deploy")
    post.work()
    assert office.chat.titles == ["Approval needed: deploy, step 1: Step 1"] * 2


def test_no_message_holds_a_secret_of_its_run(office: Office) -> None:
    office.bench.environ["TOKEN"] = "hunter2secret"
    params = [{"name": "token", "type": "secret", "default": "env:TOKEN"}]
    office.bench.procedure("secret", {**GATED, "title": "Use hunter2secret, aHVudGVyMnNlY3JldA=="}, params=params)
    post = office.open()
    run = office.bench.run("secret")
    office.bench.engine().reject(run.run_id, actor=BOB, reason="hunter2secret is old")
    post.work()
    (paused,) = office.chat.taken
    assert paused.title == "Paused: secret"
    office.bench.run("secret")
    post.work()
    told = "".join(str(message) for message in office.chat.taken)
    assert "Use ***" in told
    assert "hunter2secret" not in told
    assert "aHVudGVyMnNlY3JldA" not in told


def test_routes_say_who_is_told(office: Office) -> None:
    office.configure(routes=[{"channels": ["page"], "procedures": ["dep*"]}])
    post = office.open()
    office.bench.run("deploy")
    office.bench.run("quick")
    post.work()
    assert office.page.titles == ["Approval needed: deploy, step 1: Step 1"]
    assert office.chat.tries == []


def test_a_message_is_tried_again_less_and_less_often_and_told_as_failing_once(office: Office) -> None:
    office.chat.fail()
    post = office.open()
    office.bench.run("quick")
    post.work(7 * 3600)
    times = office.chat.times
    assert [round(later - before) for before, later in pairwise(times)] == list(DELAYS_SECS[: len(times) - 1])
    assert len(times) > 8
    assert post.said == [("failing", "chat", "HTTP 500")]
    office.chat.mend()
    post.work(3700)
    assert office.statuses() == ["sent"]
    assert post.said[1:] == [("well", "chat")]
    assert len({message.id for message in office.chat.tries}) == 1


def test_after_a_day_a_message_is_given_up_and_that_is_told(office: Office) -> None:
    office.chat.fail()
    post = office.open()
    office.bench.run("quick")
    post.work(2 * DAY)
    assert office.statuses() == ["given_up"]
    assert len(office.chat.tries) == len(DELAYS_SECS) + 1
    assert post.said[-1] == ("given up", "chat", 1, "HTTP 500")
    assert office.statuses("page") == ["sent"]


def test_a_channel_that_hangs_holds_up_nobody_and_no_second_try_is_begun_beside_it(office: Office) -> None:
    office.chat.hang()
    post = office.open()
    office.bench.run("quick")
    post.work()
    assert office.page.titles == ["Completed: quick"]
    office.bench.run("quick")
    post.work()
    assert office.page.titles == ["Completed: quick"] * 2
    assert len(office.chat.tries) == 1
    post.work(TRY_SECS + 20)
    assert len(office.chat.tries) == 1
    assert ("failing", "chat", "no end after 25 s") in post.said
    assert office.statuses() == ["retrying", "retrying"]
    assert {notice.told for notice in office.kept() if notice.channel == "chat"} == {"the try before still hangs"}


def test_what_comes_of_a_try_that_was_left_behind_troubles_nobody(office: Office) -> None:
    told: list[Any] = []
    office.bench.loop.set_exception_handler(lambda _loop, context: told.append(context))
    office.chat.hang()
    post = office.open()
    office.bench.run("quick")
    post.work(TRY_SECS + 5)
    office.chat.mend()
    post.hanging.pop().set_exception(NotSent("much later"))
    post.work(60)
    gc.collect()
    assert told == []
    assert office.statuses() == ["sent"]


def test_a_gate_that_was_answered_before_its_message_left_is_not_told_and_its_row_says_so(office: Office) -> None:
    office.chat.fail()
    post = office.open()
    run = office.bench.run("deploy")
    post.work()
    office.bench.engine().approve(run.run_id, actor=BOB)
    office.chat.mend()
    post.work(60)
    assert office.chat.taken == []
    (notice,) = (each for each in office.kept() if each.channel == "chat")
    assert (notice.ended, notice.told) == (NoticeEnd.DROPPED, "the gate was answered before it left")


def test_many_at_once_are_gathered_and_none_is_lost(office: Office) -> None:
    post = office.open()
    for _ in range(BURST):
        office.bench.run("quick")
    post.work()
    assert len(office.chat.taken) == BURST
    for _ in range(50):
        office.bench.run("quick")
    post.work()
    assert len(office.chat.taken) == BURST + 1
    assert office.chat.titles[-1] == "50 messages: Completed (50)"
    office.bench.run("quick")
    post.work()
    assert len(office.chat.taken) == BURST + 1, "within the minute nothing more"
    post.work(61)
    assert office.chat.titles[BURST + 1 :] == ["Completed: quick"]
    ids = {each["id"] for message in office.chat.taken for each in message.document.get("messages", [])}
    assert len(ids) == 50
    assert office.statuses() == ["sent"] * (BURST + 51)


def test_one_message_that_is_never_taken_does_not_keep_the_others_back(office: Office) -> None:
    office.bench.procedure("poison", {})

    def refuse(message: Message) -> None:
        if "poison" in message.title:
            raise NotSent("HTTP 413")

    office.chat.does = refuse
    post = office.open()
    for name in ("poison", "quick", "quick"):
        office.bench.run(name)
    post.work()
    assert office.chat.titles == ["Completed: quick"] * 2


def test_a_dead_channel_is_tried_a_few_times_and_the_rest_is_put_off_with_them(office: Office) -> None:
    office.chat.fail()
    post = office.open()
    for _ in range(10):
        office.bench.run("quick")
    post.work()
    assert len(office.chat.tries) == PATIENCE
    assert office.statuses() == ["retrying"] * 10


def test_a_crash_between_sending_and_recording_repeats_a_message_and_loses_none(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = office.open()
    notices = office.bench.store.notices
    settle = notices.settle

    def killed(*_args: Any) -> None:
        raise KilledError

    monkeypatch.setattr(notices, "settle", killed)
    office.bench.run("quick")
    post.work().end()
    assert len(office.chat.taken) == 1
    assert office.statuses() == ["waiting"]
    monkeypatch.setattr(notices, "settle", settle)
    office.open()
    first, second = office.chat.taken
    assert first == second
    assert office.statuses() == office.statuses("page") == ["sent"]


def test_a_crash_between_reading_and_keeping_loses_nothing(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    post = office.open()
    notices = office.bench.store.notices
    add = notices.add

    def killed(*_args: Any, **_options: Any) -> None:
        raise KilledError

    monkeypatch.setattr(notices, "add", killed)
    office.bench.run("quick")
    post.work().end()
    assert office.kept() == []
    monkeypatch.setattr(notices, "add", add)
    office.open()
    assert office.chat.titles == ["Completed: quick"]


def test_on_a_full_disk_a_message_is_not_sent_over_and_over(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    post = office.open()
    notices = office.bench.store.notices
    settle = notices.settle

    def full(*_args: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(notices, "settle", full)
    office.bench.run("quick")
    post.work(3600)
    assert len(office.chat.tries) == 1
    assert ("trouble", "the disk is full") in post.said
    monkeypatch.setattr(notices, "settle", settle)
    post.work(120)
    assert office.statuses() == ["sent"]
    assert len(office.chat.tries) == 1


def test_what_waits_for_a_channel_that_is_no_more_is_given_up(office: Office) -> None:
    office.chat.fail()
    post = office.open()
    office.bench.run("quick")
    post.work()
    office.configure("page")
    post.work(30)
    assert office.statuses() == ["given_up"]
    assert post.said[-1] == ("given up", "chat", 1, "config.json has no channel chat any more")


def test_a_config_that_cannot_be_read_holds_all_back_is_told_once_and_loses_nothing(office: Office) -> None:
    post = office.open()
    text = office.bench.workspace.config.read_text()
    office.bench.run("quick")
    office.bench.workspace.config.write_text("{")
    post.work(600)
    assert office.chat.tries == []
    assert [kind for kind, *_ in post.said] == ["trouble"]
    office.bench.workspace.config.write_text(text)
    post.work()
    assert office.chat.titles == ["Completed: quick"]


def test_a_record_that_cannot_be_read_is_told_as_far_as_it_is_known(office: Office) -> None:
    post = office.open()
    run = office.bench.run("deploy")
    office.bench.store._shelf.contents.clear()
    post.work()
    assert office.chat.titles == ["Approval needed: deploy"]
    assert f"sop status {run.run_id}" in office.chat.taken[0].text


def test_a_fault_of_our_own_keeps_nobody_from_being_told(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: Any, **_options: Any) -> None:
        raise ZeroDivisionError

    post = office.open()
    monkeypatch.setattr(noticing, "compose", broken)
    office.bench.run("deploy")
    post.work()
    assert office.chat.titles == ["Approval needed: deploy"]
    monkeypatch.undo()
    office.bench.run("quick")
    post.work()
    assert office.chat.titles[1:] == ["Completed: quick"]


def test_no_trouble_ends_the_postman(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError("a fault")

    post = office.open()
    monkeypatch.setattr(post.postman, "_read", broken)
    post.work(300)
    assert post.said == [("trouble", "a fault")]
    monkeypatch.undo()
    office.bench.run("quick")
    post.work()
    assert office.chat.titles == ["Completed: quick"]


def test_a_clock_that_was_set_back_holds_nothing_up_for_longer_than_an_hour(office: Office) -> None:
    office.chat.fail()
    post = office.open()
    office.bench.run("quick")
    post.work()
    office.chat.mend()
    office.bench.clock.set_wall_by(-30 * DAY)
    post.work(3700)
    assert office.statuses() == ["sent"]


def test_what_was_told_is_kept_for_ninety_days_or_as_long_as_records_are(office: Office) -> None:
    post = office.open()
    office.bench.run("quick")
    post.work()
    for days, left in ((89, ["sent"]), (2, [])):
        office.bench.clock.suspend(days * DAY)
        post.work(3700)
        assert office.statuses() == left
    office.bench.config(notifications={"channels": {"chat": {"command": ["chat"]}}}, auditRetentionDays=3)
    office.bench.run("quick")
    post.work()
    for days, left in ((2, ["sent"]), (2, [])):
        office.bench.clock.suspend(days * DAY)
        post.work(3700)
        assert office.statuses() == left


def test_an_idle_log_costs_no_writes(office: Office) -> None:
    office.configure(onRunCompleted=False)
    post = office.open()
    office.bench.run("quick")
    before = office.bench.store.version()
    for _ in range(20):
        post.work()
    assert office.bench.store.version() == before, "what comes to nothing is written now and then only"


def test_the_server_keeps_how_far_it_came_when_it_ends(office: Office) -> None:
    office.configure(onRunCompleted=False)
    post = office.open()
    office.bench.run("quick")
    post.work()
    assert office.bench.store.notices.cursor() == 0
    post.postman.finish()
    assert office.bench.store.notices.cursor() == office.bench.store.log.end().high_water


def test_once_reads_to_the_end_and_tries_what_is_due(office: Office) -> None:
    office.open().end()
    for _ in range(3):
        office.bench.run("quick")
    post = Post(office.bench, office.channels)
    office.bench.loop.run_until_complete(post.postman.once())
    assert office.chat.titles == ["Completed: quick"] * 3
    assert office.statuses() == ["sent"] * 3


def test_a_channel_that_breaks_is_one_that_failed(office: Office) -> None:
    def break_(_message: Message) -> None:
        raise ZeroDivisionError("a secret")

    office.chat.does = break_
    post = office.open()
    office.bench.run("quick")
    post.work()
    assert post.said == [("failing", "chat", "the channel broke: ZeroDivisionError")]
    assert office.statuses() == ["retrying"]


def test_a_channel_that_says_when_to_come_again_is_left_alone_until_then(office: Office) -> None:
    def refuse(_message: Message) -> None:
        raise NotSent("HTTP 429", again_secs=700.0)

    office.chat.does = refuse
    post = office.open()
    office.bench.run("quick")
    post.work(3600)
    times = office.chat.times
    pauses = [round(later - before) for before, later in pairwise(times)]
    assert pauses[:3] == [700, 700, 700]
    assert all(pause >= min(700, delay) for pause, delay in zip(pauses, DELAYS_SECS, strict=False))
