"""The router in AWS Lambda: one function behind an event source mapping for each streamed table.

Set the function's handler to `stream_lambda.handler` and SHARPWAVE_PREFIX to the deployment's;
the package is `pip install '.[workers]' -t build` in a checkout with this file beside it.
"""

from sharpwave.workers.aws.clients import clients
from sharpwave.workers.main import build_handler
from sharpwave.workers.settings import Settings

handler = build_handler(Settings.read(), clients())
