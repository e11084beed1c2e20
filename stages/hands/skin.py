"""Skin of a hand as three maps (colour, height, roughness) over its part of the texture plane, in numpy.

What is painted follows the rest position's geometry: creases at the joints, knuckle wrinkles, palm lines, tendons,
veins, nails, blotches and freckles; palms are lighter where skin is dark. The maps are as fine as a frame of 320 x 240
shows: detail below a pixel would reach the picture as speckle, not as skin.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.hands.arm import BONES, Array, RestArm, unit, vertex_normals

Map = NDArray[np.float32]

# mean colour of the back of the hand from light to dark, sRGB 0..255; the steps follow Monk's scale of ten
TONES = (
    (245, 214, 196), (232, 190, 165), (219, 170, 140), (198, 146, 112), (172, 120, 88),
    (141, 94, 66), (110, 71, 50), (80, 52, 38), (58, 39, 31),
)  # fmt: skip
DARKEST = len(TONES) - 1
PALM_OF_DARK_SKIN = np.array([0.50, 0.30, 0.21])  # linear
NAIL_EDGE = np.array([0.80, 0.74, 0.66])  # linear
GUTTER_PX = 4  # texels painted beyond the island, so that filtering meets no black


@dataclass(frozen=True, kw_only=True)
class SkinMaps:
    """albedo (n, n, 3) linear 0..1; height (n, n) in 0..1 about 0.6; roughness (n, n) 0..1: first row at the top.

    corner, size  of the square of the texture plane that the maps cover
    arm_albedo    (3,) linear, of the forearm
    """

    albedo: Map
    height: Map
    roughness: Map
    corner: tuple[float, float]
    size: float
    arm_albedo: tuple[float, float, float]


def skin_thirds(tones: Array) -> Array:
    """Names of the thirds of the scale of tones that these lie in."""
    return np.array(["light", "middle", "dark"])[np.digitize(tones, (3, 6))]


def tone_albedo(tone: float) -> Array:
    """(3,) linear colour of a tone 0 (lightest) to 8."""
    low = int(min(np.floor(tone), DARKEST - 1))
    mixed = (1 - tone + low) * np.array(TONES[low]) + (tone - low) * np.array(TONES[low + 1])
    return np.asarray((mixed / 255) ** 2.2)


def hand_share(rest: RestArm) -> Array:
    """(V,) 1 on the hand's island of the texture plane, 0 on the forearm, a smooth step of 18 mm at the wrist."""
    wrist, elbow = rest.heads[BONES.index("wrist")], rest.heads[BONES.index("lowerarm01")]
    along = (rest.vertices - wrist) @ unit(wrist - elbow)
    inside = np.ones(len(rest.vertices), dtype=bool)
    corners_inside = _on_island(rest.uv)
    np.logical_and.at(inside, rest.faces, corners_inside)
    return np.clip((along - along[inside].min()) / 0.018, 0, 1) * inside


def paint(rest: RestArm, rng: np.random.Generator, *, tone: float, resolution: int) -> SkinMaps:
    """Maps of `resolution` squared texels for one hand; `tone` is 0 (lightest) to 8."""
    points, normals, covered, corner, size = _unwrapped(rest, resolution)
    canvas = _Canvas(rest, points, normals, rng)
    canvas.creases()
    canvas.nails()
    canvas.palm_lines()
    canvas.tendons_and_veins()
    canvas.blotches()
    albedo, roughness = canvas.colour(tone)
    base = tone_albedo(tone)
    back = (canvas.palm[:, 0] < 0.15) & (canvas.dorsal > 0.2)
    arm = albedo[back].mean(0) if back.any() else base
    return SkinMaps(
        albedo=_spread(albedo, covered),
        height=_spread(np.clip(0.62 + 0.22 * canvas.height, 0, 1), covered),
        roughness=_spread(roughness, covered),
        corner=corner,
        size=size,
        arm_albedo=tuple(float(x) for x in arm),
    )


class _Canvas:
    """Layers over the texels of the hand, (T,) each: height, redness, darkness, nail, nail edge."""

    def __init__(self, rest: RestArm, points: Array, normals: Array, rng: np.random.Generator) -> None:
        self.rest, self.points, self.normals, self.rng = rest, points, normals, rng
        self.dorsal = np.clip((normals @ rest.dorsal) * 1.3, -1, 1)
        self.height, self.red, self.dark, self.nail, self.edge = np.zeros((5, len(points)))
        self.vein = np.zeros(len(points))
        self.finger = self._nearest_finger()
        self.wobble = noise(points, 260, rng, octaves=2)
        self.palm, self.knuckles = self._palm_frame()

    def creases(self) -> None:
        """Flexion creases on the palm's side of each joint, wrinkles on its back."""
        for finger in range(1, 6):
            for part, offsets, strength, reach, period in (
                (1, (0.0105, 0.0135), 0.45, 0.010, 0.0030),
                (2, (-0.0012, 0.0012), 1.25, 0.0068, 0.0021),
                (3, (0.0,), 1.0, 0.0042, 0.0016),
            ):
                head, axis, _ = self._bone(f"finger{finger}-{part}")
                x = (self.points - head) @ axis
                radius = np.linalg.norm(self.points - head - x[:, None] * axis, axis=1)
                near = (self.finger == finger) & (np.abs(x) < 0.014) & (radius < 0.02)
                up = np.clip(self.normals @ self.rest.nails[finger - 1], -1, 1)
                inner, outer = near * np.clip(0.2 - 2 * up, 0, 1), near * np.clip(2 * up - 0.1, 0, 1)
                if (finger, part) != (1, 1):
                    for offset in offsets:
                        line = np.exp(-(((x - offset + 0.0022 * self.wobble) / 0.0009) ** 2)) * inner
                        self._add(line, height=-0.8, dark=0.26, red=0.35)
                wrinkle = np.clip(np.cos(2 * np.pi * (x / period + 2.6 * self.wobble)), 0, 1)
                knuckle = strength * np.exp(-((x / reach) ** 2)) * outer
                self._add(knuckle * wrinkle**2, height=-0.75, dark=0.18)
                self._add(knuckle, red=0.55)

    def nails(self) -> None:
        """A plate on the back of each last bone with its rim, free edge and half moon."""
        for finger in range(1, 6):
            head, axis, length = self._bone(f"finger{finger}-3")
            nail = self.rest.nails[finger - 1]
            mine = self.finger == finger
            x = (self.points - head) @ axis / length
            y = (self.points - head) @ unit(np.cross(axis, nail))
            up = self.normals @ nail
            middle = mine & (x > 0.4) & (x < 1)
            half_width = np.percentile(np.abs(y[middle]), 92) if middle.any() else 0.007
            begin, end = 0.50, 1.06
            u, v = (x - (begin + end) / 2) / ((end - begin) / 2), y / (0.8 * half_width)
            outline = (np.abs(u) ** 3.2 + np.abs(v) ** 3.2) ** (1 / 3.2)
            plate = np.clip((1 - outline) / 0.07, 0, 1) * mine * np.clip((up - 0.15) / 0.2, 0, 1)
            self.nail = np.maximum(self.nail, plate)
            rim = np.exp(-(((outline - 1.03) / 0.09) ** 2)) * mine * (up > 0) * (u < 0.7)
            self._add(rim, height=-0.7, dark=0.22, red=0.25)
            moon = np.clip(1 - ((u + 1) / 0.38) ** 2 - (v / 0.8) ** 2, 0, 1)
            free = np.clip((x - end + 0.12) / 0.02, 0, 1)
            self.edge = np.maximum(self.edge, plate * np.maximum(free, 0.45 * moon))
            pad = mine * np.clip((x - 0.35) / 0.5, 0, 1) * (1 - plate) * np.clip(0.6 - up, 0, 1)
            self._add(pad, red=0.55)

    def palm_lines(self) -> None:
        """The four long lines, and fine ones at random; coordinates: wrist to middle knuckle, index to pinky."""
        inner = np.clip(-2.5 * self.dorsal - 0.3, 0, 1)
        moved = self.palm + 0.03 * self.wobble[:, None]
        for points, width, strength in (
            (((0.86, 1.18), (0.86, 0.55), (1.02, 0.18)), 0.010, 1.0),
            (((0.74, -0.18), (0.80, 0.35), (0.52, 1.0)), 0.009, 0.9),
            (((0.76, -0.20), (0.62, 0.50), (0.10, 0.38)), 0.011, 1.0),
            (((0.30, 0.75), (0.5, 0.55), (0.85, 0.45)), 0.007, 0.4),
        ):
            shifted = np.array([self._across(*p) for p in points]) + self.rng.normal(0, 0.02, 2)
            line = np.exp(-((_distance(moved, _curve(shifted)) / width) ** 2)) * inner
            self._add(line, height=-0.9 * strength, dark=0.4 * strength, red=0.3 * strength)
        for _ in range(10):
            start = self._across(self.rng.uniform(0.2, 0.95), self.rng.uniform(0, 1))
            end = start + self.rng.normal(0, 0.14, 2)
            line = np.exp(-((_distance(moved, np.array([start, end])) / 0.006) ** 2)) * inner
            self._add(line, height=-0.3, dark=0.1)

    def tendons_and_veins(self) -> None:
        back = np.clip(2.5 * self.dorsal - 0.6, 0, 1)
        for finger in range(2, 6):
            start = self._across(0.12, 0.4 + 0.06 * (finger - 3))
            tendon = np.exp(
                -((_distance(self.palm, np.array([start, self.knuckles[finger - 1]])) / 0.045) ** 2)
            )
            self._add(tendon * back * np.clip((self.palm[:, 0] - 0.25) / 0.7, 0, 1), height=0.5)
        moved = self.palm + 0.22 * noise(self.points, 45, self.rng, octaves=2)[:, None]
        for _ in range(5):
            ends = [
                self._across(x, self.rng.uniform(low, high))
                for x, low, high in ((0.98, 0, 1), (0.5, -0.1, 1.1), (0.02, 0.1, 0.9))
            ]
            vein = np.exp(-((_distance(moved, _curve(np.array(ends))) / 0.035) ** 2)) * back
            self.vein = np.maximum(self.vein, vein)
        self.vein *= self.rng.uniform(0.2, 1)
        self.height += 0.8 * self.vein

    def blotches(self) -> None:
        self.blotch = noise(self.points, 90, self.rng, octaves=3)
        self.grain = noise(self.points, 380, self.rng, octaves=2)
        self.height += 0.3 * self.grain * (1 - self.nail)
        self.red += 0.9 * self.blotch + 0.25 * np.clip(-2.5 * self.dorsal - 0.3, 0, 1)

    def colour(self, tone: float) -> tuple[Array, Array]:
        """Albedo (T, 3), linear, and roughness (T,)."""
        darkness = tone / DARKEST
        base = tone_albedo(tone) * self.rng.uniform(0.93, 1.07, 3)
        palm = (1 - 0.62 * darkness) * base + 0.62 * darkness * PALM_OF_DARK_SKIN
        inner = 0.9 * np.clip(0.5 - 0.9 * self.dorsal, 0, 1)[:, None]
        albedo = base * (1 - inner) + palm * inner
        red = np.clip(self.red, -0.8, 1.6)[:, None] * (1 - 0.55 * darkness)
        albedo *= 1 + red * np.array([0.06, -0.20, -0.19])
        albedo *= 1 - np.clip(self.dark, 0, 1.2)[:, None] * np.array([0.22, 0.36, 0.38])
        albedo *= 1 - (0.5 * (1 - darkness) * self.vein)[:, None] * np.array([0.16, 0.05, -0.02])
        albedo *= 1 + 0.12 * self.grain[:, None]
        if self.rng.random() < 0.4:
            spots = np.clip(noise(self.points, 330, self.rng, octaves=1) - 0.3, 0, 1) * 6
            spots = np.clip(spots * np.clip(self.dorsal + 0.3, 0, 1), 0, 0.5)[:, None]
            albedo *= 1 - spots * np.array([0.35, 0.5, 0.6])
        plate = 0.45 * albedo + 0.55 * np.clip(base * np.array([1.12, 0.93, 0.93]) + 0.06, 0, 1)
        nail, edge = self.nail[:, None], 0.65 * self.edge[:, None]
        albedo = albedo * (1 - nail) + nail * plate
        albedo = albedo * (1 - edge) + edge * NAIL_EDGE
        roughness = 0.52 + 0.10 * self.blotch
        return np.clip(albedo, 0, 1), np.clip(roughness * (1 - self.nail) + 0.26 * self.nail, 0, 1)

    def _add(self, layer: Array, *, height: float = 0.0, dark: float = 0.0, red: float = 0.0) -> None:
        self.height += height * layer
        self.dark += dark * layer
        self.red += red * layer

    def _bone(self, name: str) -> tuple[Array, Array, float]:
        """Head, unit axis and length."""
        head, tail = (ends[BONES.index(name)] for ends in (self.rest.heads, self.rest.tails))
        return head, unit(tail - head), float(np.linalg.norm(tail - head))

    def _nearest_finger(self) -> NDArray[np.int64]:
        nearest, finger = np.full(len(self.points), np.inf), np.zeros(len(self.points), dtype=np.int64)
        for bone, name in enumerate(BONES):
            if name.startswith("finger"):
                ends = np.stack([self.rest.heads[bone], self.rest.tails[bone]])
                distance = _distance(self.points, ends)
                finger[distance < nearest] = int(name[6])
                nearest = np.minimum(nearest, distance)
        return finger

    def _palm_frame(self) -> tuple[Array, Array]:
        """(T, 2) of the texels and (5, 2) of the knuckles: along the palm and across it, in its length and width."""
        wrist = self.rest.heads[BONES.index("wrist")]
        heads = np.array([self.rest.heads[BONES.index(f"finger{f}-1")] for f in range(1, 6)])
        along = heads[2] - wrist
        length, u = float(np.linalg.norm(along)), unit(along)
        across = heads[4] - heads[1]
        across = across - (across @ u) * u
        width, v = float(np.linalg.norm(across)), unit(across)
        frame = np.stack([u / length, v / width], axis=1)
        return (self.points - wrist) @ frame, (heads - wrist) @ frame

    def _across(self, along: float, share: float) -> Array:
        """A point at `along` the palm and at a share of the way from the index knuckle to the pinky's."""
        first, last = self.knuckles[1, 1], self.knuckles[4, 1]
        return np.array([along, first + (last - first) * share])


def noise(points: Array, frequency: float, rng: np.random.Generator, *, octaves: int) -> Array:
    """(T,) value noise in -0.5..0.5 at points (T, 3) in metres; frequency in 1/m, doubled by each octave."""
    total, norm = np.zeros(len(points)), 0.0
    for octave in range(octaves):
        at = points * frequency * 2**octave + rng.uniform(0, 100, 3)
        lattice = rng.random((32, 32, 32))
        cell = np.floor(at).astype(int)
        share = at - cell
        share = share * share * (3 - 2 * share)
        for corner in np.ndindex(2, 2, 2):
            weight = np.where(corner, share, 1 - share).prod(axis=1)
            total += 0.5**octave * weight * lattice[tuple(((cell + corner) % 32).T)]
        norm += 0.5**octave
    return total / norm - 0.5


def _on_island(uv: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether texture coordinates (..., 2) lie on the hand's island, as MakeHuman's layout has it."""
    return (uv[..., 1] < 0.22) & (uv[..., 0] > 0.3)


def _unwrapped(
    rest: RestArm, resolution: int
) -> tuple[Array, Array, NDArray[np.bool_], tuple[float, float], float]:
    """Rest positions and normals of the covered texels (T, 3), which are covered (n, n), corner and size."""
    chosen = _on_island(rest.uv).all(axis=1)
    faces, uv = rest.faces[chosen], rest.uv[chosen].astype(np.float64)
    low, high = uv.reshape(-1, 2).min(0), uv.reshape(-1, 2).max(0)
    size = float((high - low).max()) * 1.04
    corner = low - 0.02 * size
    texels = (uv - corner) / size * resolution
    vertices, normals = rest.vertices, vertex_normals(rest.vertices, rest.faces)
    position, normal = np.zeros((2, resolution, resolution, 3))
    covered = np.zeros((resolution, resolution), dtype=bool)
    for triangle in ([0, 1, 2], [0, 2, 3]):
        for face, at in zip(faces[:, triangle], texels[:, triangle], strict=True):
            x0, y0 = np.maximum(np.floor(at.min(0)).astype(int) - 1, 0)
            x1, y1 = np.minimum(np.ceil(at.max(0)).astype(int) + 1, resolution)
            x, y = np.meshgrid(np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5)
            shares = _barycentric(at, x, y)
            if shares is None:
                continue
            inside = (shares > -0.05).all(axis=-1)
            position[y0:y1, x0:x1][inside] = shares[inside] @ vertices[face]
            normal[y0:y1, x0:x1][inside] = shares[inside] @ normals[face]
            covered[y0:y1, x0:x1] |= inside
    return (
        position[covered], unit(normal[covered]), covered, (float(corner[0]), float(corner[1])), size
    )  # fmt: skip


def _barycentric(triangle: Array, x: Array, y: Array) -> Array | None:
    a, b, c = triangle
    area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
    if abs(area) < 1e-9:
        return None
    second = ((x - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (y - a[1])) / area
    third = ((b[0] - a[0]) * (y - a[1]) - (x - a[0]) * (b[1] - a[1])) / area
    return np.stack([1 - second - third, second, third], axis=-1)


def _spread(values: Array, covered: NDArray[np.bool_]) -> Map:
    """Texels (T, ...) on their map, continued into the gutter, first row at the top."""
    image = np.zeros(covered.shape + values.shape[1:], np.float32)
    image[covered] = values
    known = covered.copy()
    for _ in range(GUTTER_PX):
        for shift in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            there, had = np.roll(image, shift, (0, 1)), np.roll(known, shift, (0, 1))
            new = had & ~known
            image[new] = there[new]
            known |= new
    image[~known] = values.mean(0)
    return image[::-1].copy()


def _distance(points: Array, line: Array) -> Array:
    """(T,) distance of points to a polyline, in any number of dimensions."""
    nearest = np.full(len(points), np.inf)
    for a, b in itertools.pairwise(line):
        along = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(points - a - along[:, None] * (b - a), axis=1))
    return nearest


def _curve(control: Array, *, points: int = 16) -> Array:
    """A quadratic Bezier curve through three control points."""
    t = np.linspace(0, 1, points)[:, None]
    return (1 - t) ** 2 * control[0] + 2 * t * (1 - t) * control[1] + t**2 * control[2]
