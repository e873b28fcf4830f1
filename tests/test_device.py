"""The choice of the device, and what is asked of it."""

import paddle
import pytest

from machine import device


def test_a_gpu_newer_than_paddle_2_is_passed_over_with_the_reason(monkeypatch, capsys):
    monkeypatch.setattr(paddle, "__version__", "2.6.2")
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(paddle.device.cuda, "get_device_capability", lambda: (9, 0), raising=False)
    assert device.select_device("auto") == "cpu"
    assert "no code for this GPU (compute capability 9.0)" in capsys.readouterr().err
    with pytest.raises(device.DeviceError, match="Paddle 3 from Paddle's own index"):
        device.select_device("gpu")


def test_asking_for_a_gpu_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: False)
    with pytest.raises(device.DeviceError, match="device = 'gpu': this Paddle is a CPU build; --device cpu"):
        device.select_device("gpu")
    assert device.select_device("auto") == "cpu"


def test_deterministic_algorithms_are_asked_of_cudnn(monkeypatch):
    flags = {}
    if not paddle.is_compiled_with_cuda():  # a CPU build does not know the flag
        monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
        monkeypatch.setattr(paddle, "set_flags", flags.update)
        monkeypatch.setattr(paddle, "get_flags", lambda name: {name: flags.get(name)})
    device.make_deterministic()
    assert paddle.get_flags("FLAGS_cudnn_deterministic") == {"FLAGS_cudnn_deterministic": True}
