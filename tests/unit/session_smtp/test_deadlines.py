from clock import Clock
from pillarbox.session.deadlines import Deadlines


class Timed:
    def __init__(self, deadline):
        self.deadline = deadline
        self.turn = -1
        self.times = 0

    def timed_out(self):
        self.times += 1


def test_a_deadline_passes_once_and_not_too_early():
    clock = Clock(0.0)
    deadlines, timed = Deadlines(clock), Timed(10.0)
    deadlines.watch(timed)
    clock.now = 9.9
    deadlines.tick()
    assert timed.times == 0
    clock.now = 11.0
    deadlines.tick()
    clock.now = 20.0
    deadlines.tick()
    assert timed.times == 1


def test_a_deadline_that_moved_on_is_put_off():
    clock = Clock(0.0)
    deadlines, timed = Deadlines(clock), Timed(10.0)
    deadlines.watch(timed)
    timed.deadline = 30.0
    clock.now = 12.0
    deadlines.tick()
    assert timed.times == 0
    clock.now = 31.0
    deadlines.tick()
    assert timed.times == 1


def test_one_that_is_forgotten_while_others_pass_stays_silent():
    clock = Clock(0.0)
    deadlines = Deadlines(clock)
    both = [Timed(1.0), Timed(1.0)]

    def forget_both():
        for timed in both:
            deadlines.forget(timed)

    for timed in both:
        timed.timed_out = lambda t=timed: (setattr(t, "times", 1), forget_both())
        deadlines.watch(timed)
    clock.now = 2.0
    deadlines.tick()
    assert sum(timed.times for timed in both) == 1
    assert not deadlines._turns


def test_none_is_no_deadline_and_an_earlier_one_counts_when_watched_again():
    clock = Clock(0.0)
    deadlines, timed = Deadlines(clock), Timed(float("inf"))
    deadlines.watch(timed)
    assert timed.turn == -1
    timed.deadline = 50.0
    deadlines.watch(timed)
    timed.deadline = 5.0
    deadlines.watch(timed)
    clock.now = 6.0
    deadlines.tick()
    assert timed.times == 1
