"""Runs an ONNX model with QONNX' own operators: in the environment `oracles`, called by test_qonnx.py.

envs/py oracles tests/oracles/qonnx_judge.py model.onnx images.npy judged.npz

judged.npz  every tensor of the graph by its name
"""

import sys

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes


def main() -> None:
    path, images, target = sys.argv[1:]
    model = ModelWrapper(path)
    # the operators' definitions that travel with the model would take the place of QONNX' own
    del model.model.functions[:]
    x = np.load(images)
    model.set_tensor_shape("images", list(x.shape))
    model = model.transform(InferShapes())
    context = execute_onnx(model, {"images": x}, return_full_exec_context=True)
    np.savez(
        target, **{name.replace("/", "\\"): value for name, value in context.items() if value is not None}
    )


if __name__ == "__main__":
    main()
