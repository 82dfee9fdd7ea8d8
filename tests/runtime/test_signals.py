"""A signal is a flag that the main thread sets."""

import os
import signal
import threading

import pytest

from vae3d.runtime.signals import StopSignal


def test_a_signal_is_a_flag_and_a_second_ctrl_c_an_end() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    stop = StopSignal()
    with stop.listening():
        assert not stop.came
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.came
        assert stop.name == "SIGTERM"
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.name == "SIGTERM", "the first one counts"
    assert {number: signal.getsignal(number) for number in before} == before
    stop = StopSignal()
    with stop.listening():
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.name == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert {number: signal.getsignal(number) for number in before} == before


def test_other_threads_listen_to_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    during = []

    def listen() -> None:
        with StopSignal().listening():
            during.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert during == [before]


def test_a_signal_is_answered_immediately(capfd: pytest.CaptureFixture[str]) -> None:
    stop = StopSignal()
    with stop.listening():
        os.kill(os.getpid(), signal.SIGINT)
        said = capfd.readouterr().err
        assert "SIGINT: stopping after this step, a checkpoint is saved; Ctrl-C again" in said
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert capfd.readouterr().err == ""
