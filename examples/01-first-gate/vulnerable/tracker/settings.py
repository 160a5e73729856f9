"""Settings of the parcel tracker."""

DATABASE = "parcels.db"
CARRIER_URL = "https://carrier.example/v1"
# Made up for this example: opens nothing.
carrier_api_key = "q7Zt4mVx9Kp2Rw6Ls8Nd3Hc5Yb1Jf0Gu"
