"""Photos and films behind hands."""

import av
import numpy as np
import pytest
from PIL import Image

from stages.hands import prepare_plates
from stages.hands.backgrounds import plate_view
from stages.hands.plates import FPS, Plate, Scene, draw_plate
from stages.hands.scenes import Camera, head_rotation
from stages.lib.core.errors import InputError

CAMERA = Camera(width_px=64, height_px=48, field_of_view_rad=1.0)


def looking(yaw: float, pitch: float = 0.0) -> np.ndarray:
    return head_rotation(np.array(yaw), np.array(pitch), np.array(0.0))


def ramp() -> np.ndarray:
    """(240, 320, 3): red rises to the right, green downwards, both 0 to 1."""
    y, x = np.mgrid[:240, :320]
    return np.stack([x / 319, y / 239, np.zeros_like(x, float)], -1).astype(np.float32)


def test_a_photo_moves_by_as_many_pixels_as_a_distant_point() -> None:
    home, turned = looking(0.0), looking(0.05, -0.03)
    still, moved = (
        plate_view(ramp(), CAMERA, np.stack([turn] * 2), home=home, zoom=1.5, shift=np.zeros(2))
        for turn in (home, turned)
    )
    # the ramp's values say which place of the photo a pixel shows; the middle of home is its middle
    assert still[23:25, 31:33, 0].mean() == pytest.approx(0.5, abs=0.003)
    # where the turned head sees what home sees in its middle
    ahead = np.array([[0, 0, -1.0]]) @ home.T @ turned
    x, y, _ = CAMERA.project(ahead)[0]
    assert abs(x - 32) > 2
    assert abs(y - 24) > 1
    seen = moved[int(y), int(x)]
    assert seen[:2] == pytest.approx([0.5, 0.5], abs=0.02)


def test_a_shifted_photo_shows_what_lies_beside() -> None:
    turns = np.stack([looking(0.3)] * 2)
    views = [
        plate_view(ramp(), CAMERA, turns, home=looking(0.3), zoom=2.0, shift=np.array([s, 0])) for s in (0, 0.25)
    ]  # fmt: skip
    # a quarter of the view to the right: an eighth of the photo at zoom 2
    assert (views[0] - views[1])[24, 32, 0] == pytest.approx(0.125, abs=0.01)


def test_films_go_on_and_then_back() -> None:
    film = np.zeros((3, 240, 320, 3), np.uint8) + np.array([0, 120, 255], np.uint8)[:, None, None, None]
    scene = Scene(name="film", plate=Plate(frames=film), zoom=1.3, drift=0.0, seed=0)
    times = np.arange(6) / FPS + 1e-6
    turns = np.broadcast_to(looking(0.0), (6, 2, 3, 3))
    views = scene.views(CAMERA, turns, times)
    assert [round(float(v.mean()), 2) for v in views] == [0.0, 0.19, 1.0, 0.19, 0.0, 0.19]


def test_about_the_wanted_share_of_clips_has_a_plate() -> None:
    plates = {
        "a": Plate(frames=np.zeros((1, 9, 9, 3), np.uint8)),
        "b": Plate(frames=np.zeros((2, 9, 9, 3), np.uint8)),
    }
    drawn = [draw_plate(plates, 0.25, np.random.default_rng(i)) for i in range(400)]
    assert 70 < sum(scene is not None for scene in drawn) < 130
    # a film moves already
    assert all(scene.drift == 0 for scene in drawn if scene is not None and scene.name == "b")
    assert any(scene.drift > 0 for scene in drawn if scene is not None and scene.name == "a")
    assert draw_plate(plates, 0.0, np.random.default_rng(0)) is None


def test_a_folder_of_photos_and_films_becomes_plates(tmp_path) -> None:
    Image.fromarray(np.full((100, 1280, 3), 90, np.uint8)).save(tmp_path / "wide.png")
    with av.open(str(tmp_path / "street.mp4"), "w") as video:
        stream = video.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(24):
            picture = np.full((48, 64, 3), 10 * i, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                video.mux(packet)
        for packet in stream.encode():
            video.mux(packet)
    prepare_plates.main(["--folder", str(tmp_path), "--plates", str(tmp_path / "plates.npz")])
    with np.load(tmp_path / "plates.npz") as found:
        assert sorted(found.files) == ["china", "flower", "street", "wide"]
        assert found["wide"].shape == (1, 50, 640, 3)
        # one second of 24 frames: every second one
        means = found["street"].reshape(len(found["street"]), -1).mean(1)
        assert np.allclose(means, np.arange(0, 240, 20), atol=12)
        assert len(means) == 12


def test_what_is_no_photo_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match="holds no photo"):
        prepare_plates.own_plates(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"not a photo")
    with pytest.raises(InputError, match=r"broken\.jpg cannot be read as a photo"):
        prepare_plates.own_plates(tmp_path)
    (tmp_path / "broken.jpg").unlink()
    (tmp_path / "broken.mp4").write_bytes(b"not a film")
    with pytest.raises(InputError, match=r"broken\.mp4 cannot be read as a film"):
        prepare_plates.own_plates(tmp_path)
