"""TensorFlow Serving's `PredictionService` over loopback, of its own protos and stubs."""

import contextlib
from collections.abc import Iterator
from concurrent import futures

import grpc
import tensorflow as tf
from serving.model_server import Fault, ModelServer, list_inputs
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)


@contextlib.contextmanager
def serve_rpc(
    server: ModelServer, port: int = 0, tls: grpc.ServerCredentials | None = None
) -> Iterator[str]:
    """Serves on a port of this machine; yields the address."""
    rpc = grpc.server(futures.ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Service(server), rpc)
    address = f"127.0.0.1:{port}"
    port = rpc.add_secure_port(address, tls) if tls else rpc.add_insecure_port(address)
    rpc.start()
    try:
        yield f"{'grpcs' if tls else 'grpc'}://127.0.0.1:{port}"
    finally:
        server.stopped.set()
        rpc.stop(grace=None).wait()


class _Service(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, models: ModelServer) -> None:
        self._models = models

    def Predict(self, request, context) -> predict_pb2.PredictResponse:
        def answer():
            inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
            place = read_spec(request.model_spec)
            outputs = self._models.predict(*place, request.model_spec.signature_name, inputs)
            response = predict_pb2.PredictResponse(model_spec=request.model_spec)
            for name, array in outputs.items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
            return response

        return self._reply(answer, context)

    def GetModelMetadata(self, request, context) -> get_model_metadata_pb2.GetModelMetadataResponse:
        def answer():
            _, model = self._models.find(*read_spec(request.model_spec))
            found = get_model_metadata_pb2.SignatureDefMap()
            for name, function in model.signatures.items():
                signature = found.signature_def[name]
                sides = (
                    (signature.inputs, list_inputs(function)),
                    (signature.outputs, function.structured_outputs),
                )
                for tensors, specs in sides:
                    for key, spec in specs.items():
                        tensors[key].dtype = spec.dtype.as_datatype_enum
                        tensors[key].tensor_shape.CopyFrom(spec.shape.as_proto())
            found.signature_def["__saved_model_init_op"].method_name = ""
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            assert list(request.metadata_field) == ["signature_def"]
            response.metadata["signature_def"].Pack(found)
            return response

        return self._reply(answer, context)

    def _reply(self, answer, context):
        try:
            self._models.begin(dict(context.invocation_metadata()))
            return answer()
        except Fault as fault:
            # A connection that breaks off is UNAVAILABLE to gRPC.
            status = "UNAVAILABLE" if fault.status == ModelServer.DROP else fault.status
            context.abort(grpc.StatusCode[status], fault.message)


def read_spec(spec: model_pb2.ModelSpec) -> tuple[str, int | None, str | None]:
    """Returns name, version and label."""
    choice = spec.WhichOneof("version_choice")
    return (
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )
