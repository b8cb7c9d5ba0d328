# SPDX-License-Identifier: Apache-2.0
"""ONNX graphs written node by node, for tools/minilm and tools/suite-models.

Opset 17, standard operators only. Weights go into a file of their own, each at a page boundary, so
that an engine can map them.
"""

import os

OPSET = 17  # the first with LayerNormalization
IR_VERSION = 8  # the one that came with opset 17: older engines read it too
PAGE_BYTES = 4096


class Graph:
    """Collects nodes. Each method adds one and returns the name of its output."""

    def __init__(self):
        self.nodes = []
        self.constants = {}

    def add(self, operator, inputs, name, **attributes):
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name, values, dtype):
        """Small things that stay inside model.onnx; asked for twice, stored once."""
        import numpy
        from onnx import numpy_helper

        self.constants[name] = numpy_helper.from_array(numpy.array(values, dtype=dtype), name)
        return name

    def linear(self, x, name):
        product = self.add("MatMul", [x, f"{name}.weight"], f"{name}.product")
        return self.add("Add", [product, f"{name}.bias"], name)

    def normalize(self, x, name, epsilon):
        return self.add(
            "LayerNormalization",
            [x, f"{name}.weight", f"{name}.bias"],
            name,
            axis=-1,
            epsilon=epsilon,
        )

    def gelu(self, x, name):
        # The exact GELU, x/2 * (1 + erf(x / sqrt 2)): as an operator it exists from opset 20 only.
        sqrt_2 = self.constant("sqrt_2", 2**0.5, "float32")
        scaled = self.add("Div", [x, sqrt_2], f"{name}.scaled")
        error = self.add("Erf", [scaled], f"{name}.erf")
        share = self.add("Add", [error, self.constant("one", 1, "float32")], f"{name}.share")
        double = self.add("Mul", [x, share], f"{name}.double")
        return self.add("Mul", [double, self.constant("half", 0.5, "float32")], name)


def write_model(folder, name, graph, inputs, outputs, tensors, source):
    """Writes model.onnx and model.onnx.data, and has onnx check what it wrote.

    inputs, outputs   value infos of onnx.helper
    tensors           pairs of a name and a float32 array, taken one at a time
    """
    import onnx
    from onnx import TensorProto, helper

    weights = []
    with open(os.path.join(folder, "model.onnx.data"), "wb") as file:
        for key, tensor in tensors:
            file.write(bytes(-file.tell() % PAGE_BYTES))
            weight = TensorProto(name=key, data_type=TensorProto.FLOAT, dims=tensor.shape)
            weight.data_location = TensorProto.EXTERNAL
            for entry, value in (
                ("location", "model.onnx.data"),
                ("offset", file.tell()),
                ("length", tensor.nbytes),
            ):
                weight.external_data.add(key=entry, value=str(value))
            weights.append(weight)
            file.write(tensor.astype("<f4", copy=False).data)
        # The last page is whole as well: a mapping never ends inside one.
        file.write(bytes(-file.tell() % PAGE_BYTES))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes, name, inputs, outputs, [*weights, *graph.constants.values()]
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="resourcepool",
    )
    helper.set_model_props(model, {"source": source})
    path = os.path.join(folder, "model.onnx")
    with open(path, "wb") as file:
        file.write(model.SerializeToString(deterministic=True))
    # From the path, so that it follows the weights; with shapes, so that they must agree.
    onnx.checker.check_model(path, full_check=True)
