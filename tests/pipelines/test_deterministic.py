import torch

from pellucid_pipelines import environment


def test_the_plans_wish_reaches_torch_and_the_tags(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    cpu = torch.device("cpu")
    try:
        environment.make_deterministic(True, cpu)
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic
        assert environment.tags(cpu, 0)["deterministic"] == "true"
    finally:
        environment.make_deterministic(False, cpu)
    assert not torch.are_deterministic_algorithms_enabled()
    assert environment.tags(cpu, 0)["deterministic"] == "false"
