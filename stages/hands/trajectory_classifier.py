"""Two small classifiers of trajectories: a 1-D CNN, and the Bi-LSTM of the related work (notes 2.3)."""

import itertools
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from stages.lib.core.artifacts import read_json
from stages.lib.core.errors import InputError

Kind = Literal["cnn", "lstm"]


class TrajectoryCNN(nn.Module):
    """(n, 4, points) -> (n, classes)."""

    def __init__(self, classes: int = 10, width: int = 48) -> None:
        super().__init__()
        widths = (4, width, width, 2 * width)
        blocks = [
            nn.Sequential(
                nn.Conv1d(inputs, outputs, 5, padding=2), nn.BatchNorm1d(outputs), nn.ReLU(), nn.MaxPool1d(2)
            )
            for inputs, outputs in itertools.pairwise(widths)
        ]
        self.body = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(16 * width, 64), nn.ReLU(), nn.Linear(64, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class TrajectoryLSTM(nn.Module):
    """A bidirectional LSTM of 20 units whose two directions are multiplied, then one dense layer."""

    def __init__(self, classes: int = 10, points: int = 64, units: int = 20) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, units, bidirectional=True, batch_first=True)
        self.head = nn.Linear(points * units, classes)

    def forward(self, x: Tensor) -> Tensor:
        both, _ = self.lstm(x.transpose(1, 2))
        forwards, backwards = both.chunk(2, dim=2)
        return self.head((forwards * backwards).flatten(1))


NETS = {"cnn": TrajectoryCNN, "lstm": TrajectoryLSTM}


def train_classifier(
    kind: Kind,
    features: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> nn.Module:
    """A trained network, in evaluation mode."""
    torch.manual_seed(seed)
    model = NETS[kind]()
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01, fused=True)
    steps = epochs * (len(features) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)
    for _ in range(epochs):
        order = torch.randperm(len(features))
        for batch in order[: len(order) // batch_size * batch_size].split(batch_size):
            loss = nn.functional.cross_entropy(model(features[batch]), labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def read_classifiers(weights: str, info: str) -> dict[int, nn.Module]:
    """seed -> network, in evaluation mode. Raises InputError where the two files do not fit."""
    record = read_json(info)
    try:
        state, config = load_file(weights), record["config"]
        found = {}
        for seed in config["seeds"]:
            model = NETS[config["net"]]()
            own = {k.partition(".")[2]: v for k, v in state.items() if k.startswith(f"{seed}.")}
            model.load_state_dict(own)
            found[int(seed)] = model.eval()
    except (KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"{weights} does not hold the classifiers of {info} ({' '.join(str(error).split())[:150]}); train them again"
        ) from error
    return found
