# SPDX-License-Identifier: GPL-3.0-or-later
"""A hand in Blender: mesh, skin, sleeve, light, camera, and one rendered layer a frame."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import OpenEXR
from mathutils import Matrix

from stages.hands.arm import BONES, Array, RestArm, unit, vertex_normals
from stages.hands.scenes import Camera
from stages.hands.skin import SkinMaps, hand_share

HAND_AOV, SLEEVE_AOV = "hand", "sleeve"
FAR_M = 1e4  # Blender writes 1e10 where nothing is
MARGIN_PX = 12  # around the arm: sleeves, and what the denoiser sees


@dataclass(frozen=True, kw_only=True)
class RenderSettings:
    """samples: Cycles paths a pixel; bounces: of light in all; subdivisions: of the mesh."""

    samples: int
    subdivisions: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What one frame shows of the arm, before any background.

    rgba      (h, w, 4) float32, linear, colour times coverage
    depth_m   (h, w) float32, inf where nothing is
    hand      (h, w) float32, coverage by the hand without forearm and sleeve
    sleeve    (h, w) float32, coverage by the sleeve
    """

    rgba: np.ndarray
    depth_m: np.ndarray
    hand: np.ndarray
    sleeve: np.ndarray


class HandScene:
    """Blender's scene with one arm in it; frames are set and rendered one after the other."""

    def __init__(self, rest: RestArm, camera: Camera, settings: RenderSettings, *, left: bool) -> None:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scene = bpy.context.scene
        self.rest, self.camera = rest, camera
        self._configure(camera, settings)
        self.faces = rest.faces[:, ::-1] if left else rest.faces
        self.arm = self._moving_mesh("arm", rest.vertices, self.faces, settings.subdivisions)
        corners = rest.uv[:, ::-1] if left else rest.uv
        self.arm.data.uv_layers.new(name="UV").data.foreach_set("uv", corners.astype(np.float32).ravel())
        self._attribute(self.arm, HAND_AOV, hand_share(rest))
        self._attribute(self.arm, "rest", rest.vertices)
        self.sleeve: Any = None
        self.sleeve_vertices: Array = np.zeros(0, dtype=int)
        self.sleeve_offset = 0.0

    # ---- what is in the scene

    def dress(self, *, cover: float, colour: tuple[float, float, float], thickness_m: float) -> None:
        """A sleeve over the forearm, up to `cover` of the way from the elbow to the wrist."""
        rest = self.rest
        elbow, wrist = (rest.heads[BONES.index(bone)] for bone in ("lowerarm01", "wrist"))
        along = (rest.vertices - elbow) @ (wrist - elbow) / ((wrist - elbow) @ (wrist - elbow))
        kept = along < cover
        number = np.full(len(along), -1)
        number[kept] = np.arange(kept.sum())
        faces = number[self.faces[kept[self.faces].all(axis=1)]]
        self.sleeve_vertices = np.flatnonzero(kept)
        # looser towards the elbow
        self.sleeve_offset = (thickness_m + 0.010 * np.clip((cover - along[kept]) * 1.2, 0, 1) ** 0.7)[
            :, None
        ]
        self.sleeve = self._moving_mesh("sleeve", rest.vertices[kept], faces, 2)
        self._attribute(self.sleeve, "rest", rest.vertices[kept])
        folds = bpy.data.textures.new("folds", "CLOUDS")
        folds.noise_scale, folds.noise_depth = 0.035, 2
        displace = self.sleeve.modifiers.new("folds", "DISPLACE")
        displace.texture, displace.strength, displace.mid_level = folds, 0.012, 0.45
        solid = self.sleeve.modifiers.new("cloth", "SOLIDIFY")
        solid.thickness, solid.offset = 0.0028, 1
        self.sleeve.data.materials.append(_cloth(colour))

    def paint(self, maps: SkinMaps) -> None:
        self.arm.data.materials.append(_skin(maps))

    def light(self, panorama: np.ndarray) -> None:
        """Light from an equirectangular panorama (h, w, 3), linear; each frame turns it."""
        world = bpy.data.worlds.new("world")
        self.scene.world = world
        world.use_nodes = True
        # the map that lights are drawn from is made anew whenever the world turns: 4096 wide, as Cycles would have it,
        # that is two thirds of a frame's time, and holds no more than the panorama does
        world.cycles.sampling_method, world.cycles.sample_map_resolution = "MANUAL", panorama.shape[1]
        nodes, links = world.node_tree.nodes, world.node_tree.links
        nodes.clear()
        at, self.world_turn = nodes.new("ShaderNodeTexCoord"), nodes.new("ShaderNodeMapping")
        image = nodes.new("ShaderNodeTexEnvironment")
        image.image = _image("panorama", panorama)
        background, out = nodes.new("ShaderNodeBackground"), nodes.new("ShaderNodeOutputWorld")
        links.new(at.outputs["Generated"], self.world_turn.inputs["Vector"])
        links.new(self.world_turn.outputs["Vector"], image.inputs["Vector"])
        links.new(image.outputs["Color"], background.inputs["Color"])
        links.new(background.outputs["Background"], out.inputs["Surface"])

    def lamp(
        self, *, towards: Array, strength: float, angle_rad: float, colour: tuple[float, float, float]
    ) -> None:
        """A sun or a window: parallel light; `towards` is the direction from which it comes, in camera coordinates."""
        data = bpy.data.lights.new("lamp", "SUN")
        data.energy, data.angle, data.color = strength, angle_rad, colour
        lamp = bpy.data.objects.new("lamp", data)
        self.scene.collection.objects.link(lamp)
        z = unit(np.asarray(towards, dtype=float))
        x = unit(np.cross([0.0, 1.0, 0.1], z))
        matrix = np.eye(4)
        matrix[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
        lamp.matrix_world = matrix.T.tolist()

    # ---- frames

    def render(self, vertices: np.ndarray, world_from_camera: Array) -> Layer:
        """One frame: vertices (2, V, 3) in camera coordinates as the shutter opens and closes."""
        self._move(self.arm, vertices)
        if self.sleeve is not None:
            self._move(self.sleeve, self._sleeve(vertices))
        self.world_turn.inputs["Rotation"].default_value = _euler(world_from_camera)
        window = self._window(vertices)
        if window is None:
            return empty_layer(self.camera.height_px, self.camera.width_px)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "layer.exr"
            self.scene.render.filepath = str(path)
            bpy.ops.render.render(write_still=True)
            return _read_layer(path, window, self.camera)

    def _window(self, vertices: np.ndarray) -> tuple[int, int, int, int] | None:
        """Left, top, right, bottom of what can show the arm, in pixels: nothing else is rendered."""
        in_front = vertices[vertices[..., 2] < -0.02]
        if not len(in_front):
            return None
        seen = self.camera.project(in_front.astype(np.float64))[:, :2]
        size = np.array([self.camera.width_px, self.camera.height_px])
        low = np.clip(np.floor(seen.min(0)) - MARGIN_PX, 0, size).astype(int)
        high = np.clip(np.ceil(seen.max(0)) + MARGIN_PX, 0, size).astype(int)
        if (high <= low).any():
            return None
        render = self.scene.render
        # Blender rounds the products of share and size down: a quarter of a pixel more keeps them whole
        (x0, y0), (x1, y1) = (low + 0.25) / size, (high + 0.25) / size
        render.border_min_x, render.border_max_x = x0, min(x1, 1)
        render.border_min_y, render.border_max_y = 1 - y1 + 0.5 / size[1], min(1 - y0 + 0.5 / size[1], 1)
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])

    def _sleeve(self, vertices: np.ndarray) -> np.ndarray:
        found = []
        for moment in vertices.astype(np.float64):
            normals = vertex_normals(moment, self.faces)[self.sleeve_vertices]
            found.append(moment[self.sleeve_vertices] + self.sleeve_offset * normals)
        return np.array(found)

    def _move(self, thing: Any, vertices: np.ndarray) -> None:
        """Both moments as shape keys: Cycles blurs from the one to the other."""
        keys = thing.data.shape_keys.key_blocks
        for key, moment in zip(keys, vertices, strict=True):
            key.data.foreach_set("co", np.ascontiguousarray(moment, dtype=np.float32).ravel())
        thing.data.vertices.foreach_set("co", np.ascontiguousarray(vertices[0], dtype=np.float32).ravel())
        thing.data.update()

    # ---- setting up

    def _configure(self, camera: Camera, settings: RenderSettings) -> None:
        scene, render, cycles = self.scene, self.scene.render, self.scene.cycles
        render.engine, cycles.device = "CYCLES", "CPU"
        render.resolution_x, render.resolution_y = camera.width_px, camera.height_px
        render.threads_mode, render.threads = "FIXED", 1
        render.film_transparent = True
        render.use_border = render.use_crop_to_border = True
        render.use_motion_blur, render.motion_blur_shutter = True, 0.5
        render.use_persistent_data = True
        cycles.samples, cycles.use_adaptive_sampling, cycles.seed = settings.samples, False, settings.seed
        cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
        cycles.denoising_input_passes = "RGB_ALBEDO_NORMAL"
        cycles.denoising_quality, cycles.denoising_prefilter = "BALANCED", "ACCURATE"
        cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 3, 2, 1
        cycles.transmission_bounces = cycles.transparent_max_bounces = 2
        cycles.caustics_reflective = cycles.caustics_refractive = False
        cycles.sample_clamp_direct, cycles.sample_clamp_indirect = 4, 2
        cycles.use_auto_tile = False
        image = render.image_settings
        image.media_type = "MULTI_LAYER_IMAGE"
        image.file_format, image.color_depth, image.exr_codec = "OPEN_EXR_MULTILAYER", "32", "NONE"
        layer = scene.view_layers[0]
        layer.use_pass_z = True
        aov = layer.aovs.add()
        aov.name, aov.type = HAND_AOV, "VALUE"
        sleeve = layer.aovs.add()
        sleeve.name, sleeve.type = SLEEVE_AOV, "VALUE"
        data = bpy.data.cameras.new("camera")
        data.sensor_fit, data.angle, data.clip_start = "HORIZONTAL", camera.field_of_view_rad, 0.01
        eye = bpy.data.objects.new("camera", data)
        scene.collection.objects.link(eye)
        scene.camera = eye

    def _moving_mesh(self, name: str, vertices: Array, faces: np.ndarray, subdivisions: int) -> Any:
        mesh = bpy.data.meshes.new(name)
        mesh.from_pydata(vertices.tolist(), [], faces.tolist())
        mesh.polygons.foreach_set("use_smooth", [True] * len(faces))
        thing = bpy.data.objects.new(name, mesh)
        self.scene.collection.objects.link(thing)
        thing.shape_key_add(name="open")
        close = thing.shape_key_add(name="close")
        _animate(thing.data.shape_keys, close)
        surface = thing.modifiers.new("surface", "SUBSURF")
        surface.levels = surface.render_levels = subdivisions
        surface.use_limit_surface = False
        return thing

    @staticmethod
    def _attribute(thing: Any, name: str, values: Array) -> None:
        kind, key = ("FLOAT", "value") if values.ndim == 1 else ("FLOAT_VECTOR", "vector")
        attribute = thing.data.attributes.new(name, kind, "POINT")
        attribute.data.foreach_set(key, values.astype(np.float32).ravel())


def _animate(keys: Any, close: Any) -> None:
    """Linear from 0 at a quarter of a frame before the frame to 1 at a quarter after it."""
    close.slider_min, close.slider_max = -10, 10
    for frame, value in ((0, -1.5), (2, 2.5)):
        close.value = value
        close.keyframe_insert("value", frame=frame)
    action = keys.animation_data.action
    for layer in action.layers:
        for strip in layer.strips:
            for bag in strip.channelbags:
                for curve in bag.fcurves:
                    for point in curve.keyframe_points:
                        point.interpolation = "LINEAR"


def _skin(maps: SkinMaps) -> Any:
    material = bpy.data.materials.new("skin")
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    shader = nodes["Principled BSDF"]
    uv = nodes.new("ShaderNodeUVMap")
    uv.uv_map = "UV"
    square = nodes.new("ShaderNodeMapping")
    square.vector_type = "TEXTURE"
    square.inputs["Location"].default_value = (*maps.corner, 0)
    square.inputs["Scale"].default_value = (maps.size, maps.size, 1)
    links.new(uv.outputs["UV"], square.inputs["Vector"])
    hand = nodes.new("ShaderNodeAttribute")
    hand.attribute_name = HAND_AOV

    def layer(name: str, image: np.ndarray, forearm: tuple[float, ...]) -> Any:
        texture = nodes.new("ShaderNodeTexImage")
        texture.image, texture.extension = _image(name, image), "EXTEND"
        links.new(square.outputs["Vector"], texture.inputs["Vector"])
        mix = nodes.new("ShaderNodeMix")
        mix.data_type = "RGBA"
        mix.inputs["A"].default_value = (*forearm, 1) if len(forearm) == 3 else (*forearm * 3, 1)
        links.new(hand.outputs["Fac"], mix.inputs["Factor"])
        links.new(texture.outputs["Color"], mix.inputs["B"])
        return mix.outputs["Result"]

    links.new(layer("albedo", maps.albedo, maps.arm_albedo), shader.inputs["Base Color"])
    links.new(layer("roughness", maps.roughness, (0.55,)), shader.inputs["Roughness"])
    bump = nodes.new("ShaderNodeBump")
    bump.inputs["Strength"].default_value, bump.inputs["Distance"].default_value = 0.7, 0.0020
    links.new(layer("height", maps.height, (0.62,)), bump.inputs["Height"])
    links.new(bump.outputs["Normal"], shader.inputs["Normal"])
    shader.inputs["IOR"].default_value = 1.4
    shader.inputs["Specular IOR Level"].default_value = 0.4
    shader.subsurface_method = "BURLEY"
    shader.inputs["Subsurface Weight"].default_value = 0.6
    shader.inputs["Subsurface Radius"].default_value = (1.0, 0.35, 0.2)
    shader.inputs["Subsurface Scale"].default_value = 0.0030
    out = nodes.new("ShaderNodeOutputAOV")
    out.aov_name = HAND_AOV
    links.new(hand.outputs["Fac"], out.inputs["Value"])
    return material


def _cloth(colour: tuple[float, float, float]) -> Any:
    material = bpy.data.materials.new("cloth")
    material.use_nodes = True
    nodes = material.node_tree.nodes
    shader = nodes["Principled BSDF"]
    shader.inputs["Base Color"].default_value = (*colour, 1)
    shader.inputs["Roughness"].default_value = 0.9
    shader.inputs["Specular IOR Level"].default_value = 0.15
    shader.inputs["Sheen Weight"].default_value = 0.3
    out = nodes.new("ShaderNodeOutputAOV")
    out.aov_name = SLEEVE_AOV
    out.inputs["Value"].default_value = 1.0
    return material


def _image(name: str, values: np.ndarray) -> Any:
    """A float image, linear; rows of `values` from the top."""
    height, width = values.shape[:2]
    image = bpy.data.images.new(name, width, height, float_buffer=True, is_data=True)
    rgba = np.ones((height, width, 4), np.float32)
    rgba[..., :3] = values[::-1] if values.ndim == 3 else values[::-1, :, None]
    image.pixels.foreach_set(rgba.ravel())
    image.pack()
    return image


def _euler(rotation: Array) -> tuple[float, float, float]:
    """Angles about X, then Y, then Z, of one rotation (3, 3)."""
    return tuple(Matrix(np.asarray(rotation).tolist()).to_euler("XYZ"))


def empty_layer(height: int, width: int) -> Layer:
    """A layer without an arm."""
    hand, sleeve = np.zeros((2, height, width), np.float32)
    return Layer(
        rgba=np.zeros((height, width, 4), np.float32),
        depth_m=np.full((height, width), np.inf, np.float32),
        hand=hand,
        sleeve=sleeve,
    )


def _read_layer(path: Path, window: tuple[int, int, int, int], camera: Camera) -> Layer:
    """The passes of a multi-layer EXR (Blender 5 writes one part a pass), put where the window was."""
    passes: dict[str, np.ndarray] = {}
    for part in OpenEXR.File(str(path)).parts:
        for name, channel in part.channels.items():
            passes[name] = np.squeeze(np.asarray(channel.pixels))
    left, top, right, bottom = window
    layer = empty_layer(camera.height_px, camera.width_px)
    for array, ending in (
        (layer.rgba, "combined"),
        (layer.depth_m, "depth"),
        (layer.hand, f".{HAND_AOV}"),
        (layer.sleeve, f".{SLEEVE_AOV}"),
    ):
        names = [name for name in passes if ending in name.lower() and "denoising" not in name.lower()]
        if not names or passes[names[0]].shape[:2] != (bottom - top, right - left):
            found = {name: values.shape for name, values in passes.items()}
            raise RuntimeError(
                f"the render has no pass {ending} of {bottom - top} x {right - left}; it has {found}"
            )
        array[top:bottom, left:right] = passes[names[0]]
    layer.depth_m[layer.depth_m > FAR_M] = np.inf
    return layer
