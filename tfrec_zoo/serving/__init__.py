"""A client of TensorFlow Serving for the zoo's models, by REST and by gRPC, without TensorFlow.

client = Client("http://localhost:8501")
client.recommend("gru4rec", [["272660", "257291"]]).items
"""

from tfrec_zoo.serving.answers import Recommendations, Steps
from tfrec_zoo.serving.client import Client
from tfrec_zoo.serving.errors import ServingError

__all__ = ["Client", "Recommendations", "ServingError", "Steps"]
