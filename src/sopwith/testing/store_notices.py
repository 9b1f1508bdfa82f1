"""The promises of `ports.Notices`: what is to be told waits until it was told, dropped or given up, and only once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sopwith.ports import NewNotice, NoticeEnd
from sopwith.testing.clock import START
from sopwith.testing.store_suite import StoreSuite

_LATER = START + timedelta(seconds=10)


class NoticeContract(StoreSuite):
    def test_what_was_never_begun_has_no_cursor_and_one_that_ends_has_none_again(self) -> None:
        notices = self.store.notices
        assert notices.cursor() is None
        notices.begin(7)
        assert self.other().notices.cursor() == 7
        notices.begin(8)
        assert notices.cursor() == 8
        notices.begin(None)
        assert self.other().notices.cursor() is None

    def test_notices_are_kept_with_the_cursor_and_are_due_at_once(self) -> None:
        self.store.notices.add([_new(3, "chat"), _new(3, "hook"), _new(4, "chat")], read_to=9, now=START)
        notices = self.other().notices
        assert notices.cursor() == 9
        assert notices.waiting() == {"chat": START, "hook": START}
        found = notices.due("chat", START, 9)
        assert [(each.position, each.channel) for each in found] == [(3, "chat"), (4, "chat")]
        first = found[0]
        assert (first.moment, first.run_id, first.message, first.made_at) == ("onRunFailed", "r", b"chat 3", START)
        assert (first.attempts, first.ended, first.told) == (0, None, "")

    def test_the_same_position_and_channel_is_kept_once_whatever_became_of_it(self) -> None:
        notices = self.store.notices
        notices.add([_new(3, "chat")], read_to=3, now=START)
        (one,) = notices.due("chat", START, 9)
        notices.settle([one.id], NoticeEnd.SENT, START, "200")
        notices.add([_new(3, "chat"), _new(4, "chat")], read_to=4, now=_LATER)
        assert [each.position for each in notices.newest(9)] == [4, 3]
        assert [each.position for each in notices.due("chat", _LATER, 9)] == [4]

    def test_what_is_put_off_is_due_again_then_and_counts_the_try(self) -> None:
        notices = self._three()
        one, two, _three = notices.due("chat", START, 9)
        notices.put_off({one.id: _LATER + timedelta(seconds=1), two.id: _LATER}, "refused")
        assert [each.position for each in notices.due("chat", START, 9)] == [3]
        assert notices.waiting() == {"chat": START}
        again = notices.due("chat", _LATER + timedelta(seconds=1), 9)
        assert [(each.position, each.attempts, each.told) for each in again] == [
            (3, 0, ""),
            (2, 1, "refused"),
            (1, 1, "refused"),
        ]

    def test_the_longest_waiting_comes_first_up_to_the_limit(self) -> None:
        notices = self._three()
        assert [each.position for each in notices.due("chat", START, 2)] == [1, 2]
        assert list(notices.due("chat", START - timedelta(seconds=1), 9)) == []
        assert list(notices.due("hook", START, 9)) == []

    def test_what_has_ended_waits_no_more_and_stays_as_it_ended(self) -> None:
        notices = self._three()
        one, two, three = (each.id for each in notices.due("chat", START, 9))
        notices.settle([one], NoticeEnd.SENT, _LATER, "200")
        notices.settle([two], NoticeEnd.DROPPED, _LATER, "answered")
        notices.settle([three], NoticeEnd.GIVEN_UP, _LATER, "refused")
        notices.settle([two], NoticeEnd.SENT, START, "late")
        notices.put_off({one: _LATER}, "late")
        assert notices.waiting() == {}
        assert list(notices.due("chat", _LATER, 9)) == []
        told = [(each.ended, each.ended_at, each.told, each.attempts, each.next_at) for each in notices.newest(9)]
        assert told == [
            (NoticeEnd.GIVEN_UP, _LATER, "refused", 1, None),
            (NoticeEnd.DROPPED, _LATER, "answered", 0, None),
            (NoticeEnd.SENT, _LATER, "200", 1, None),
        ]

    def test_a_clock_that_was_set_back_holds_up_nothing(self) -> None:
        notices = self._three()
        one, two, _three = (each.id for each in notices.due("chat", START, 9))
        notices.put_off({one: START + timedelta(days=9), two: _LATER}, "refused")
        notices.hurry(START, START + timedelta(hours=1))
        assert {each.position for each in notices.due("chat", START, 9)} == {1, 3}

    def test_the_newest_are_told_up_to_a_limit(self) -> None:
        assert [each.position for each in self._three().newest(2)] == [3, 2]

    def test_only_what_ended_before_is_pruned(self) -> None:
        notices = self._three()
        one, two, _three = (each.id for each in notices.due("chat", START, 9))
        notices.settle([one], NoticeEnd.SENT, START, "")
        notices.settle([two], NoticeEnd.SENT, _LATER, "")
        assert notices.prune(_LATER) == 1
        assert [each.position for each in self.other().notices.newest(9)] == [3, 2]
        assert notices.prune(_LATER) == 0

    def _three(self) -> Any:
        self.store.notices.add([_new(each, "chat") for each in (1, 2, 3)], read_to=3, now=START)
        return self.store.notices


def _new(position: int, channel: str) -> NewNotice:
    return NewNotice(
        position=position,
        channel=channel,
        moment="onRunFailed",
        run_id="r",
        message=f"{channel} {position}".encode(),
    )
