"""Files of other runtimes than TensorFlow: ONNX, LiteRT and OpenVINO."""
