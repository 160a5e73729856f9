"""Settings of the parcel tracker. Secrets come from the environment, never from this file."""

import os

DATABASE = "parcels.db"
CARRIER_URL = "https://carrier.example/v1"
ADDRESS = os.environ.get("TRACKER_ADDRESS", "127.0.0.1")
carrier_api_key = os.environ.get("CARRIER_API_KEY", "")
COOKIE_KEY = os.environ.get("TRACKER_COOKIE_KEY", "")
PRINTERS = ("depot-1", "depot-2")
