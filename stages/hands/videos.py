"""Gestures from pixels: fingertips found in each frame of a video, then the trajectory that they draw."""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor, nn

from stages.hands.arm import Array
from stages.hands.clip_frames import network_input
from stages.hands.fingertip_net import find_fingertips
from stages.hands.trajectories import features
from stages.lib.core.errors import InputError

MEDIAN_FRAMES = 3  # each place is the median of that many


@dataclass(frozen=True, kw_only=True)
class Track:
    """Fingertips of a video, of the frames that were trusted.

    points  (n, 2) pixels of the video, y down
    times_s (n,)
    trust   (frames,) of all frames, 0..1
    """

    points: Array
    times_s: Array
    trust: Array


def read_video(path: str | Path) -> tuple[Tensor, np.ndarray, tuple[int, int]]:
    """Frames (n, 3, 96, 128) in 0..1, their times in s, and the video's width and height in pixels."""
    frames, times = [], []
    try:
        with av.open(str(path)) as video:
            stream = video.streams.video[0]
            stream.thread_type = "NONE"
            for frame in video.decode(stream):
                frames.append(network_input(frame.to_ndarray(format="rgb24")))
                times.append(float(frame.time or 0.0))
            size = (stream.width, stream.height)
    except (av.error.FFmpegError, IndexError) as error:
        raise InputError(f"{path} cannot be read as a video ({error}); give an MP4 file") from None
    if not frames:
        raise InputError(f"{path} holds no frames")
    return torch.stack(frames), np.array(times), size


def track(
    model: nn.Module, frames: Tensor, times_s: np.ndarray, size: tuple[int, int], *, trusted: float
) -> Track:
    """Fingertips of frames whose heatmap holds more than `trusted` of its weight about one place.

    model  a VideoFingertipNet; it is given the median of all frames, which a live system would take of the last seconds
    """
    places, trust = find_fingertips(model, with_median(frames))
    sure = trust.numpy() > trusted
    points = smoothed((places.numpy() * np.array(size))[sure].astype(float))
    return Track(points=points, times_s=times_s[sure], trust=trust.numpy())


def with_median(frames: Tensor) -> Tensor:
    """(n, 6, h, w) in -1..1 of frames (n, 3, h, w) in 0..1: each with the median frame behind it."""
    return 2 * torch.cat([frames, frames.median(0).values.expand_as(frames)], 1) - 1


def smoothed(points: Array) -> Array:
    """Each place (n, 2) as the median of MEDIAN_FRAMES."""
    if len(points) < MEDIAN_FRAMES:
        return points
    padded = np.pad(points, ((MEDIAN_FRAMES // 2, MEDIAN_FRAMES // 2), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, MEDIAN_FRAMES, axis=0)
    return np.asarray(np.median(windows, axis=-1))


def classify(classifier: nn.Module, points: Array) -> np.ndarray:
    """(classes,) probabilities of the gesture that a track draws; all alike where it does not move."""
    try:
        seen = torch.from_numpy(features([points]))
    except InputError:
        return np.full(10, 0.1)
    with torch.inference_mode():
        return classifier(seen).softmax(1)[0].numpy()
