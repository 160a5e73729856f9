"""python images.py FOLDER: the images of this example as archives, without Docker.

The shop in three versions, of which the second asks for a list of prices that nobody has put into
its image, and an MCP server. They hold the Python that runs this.
"""

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from cluster.python_images import python_images  # noqa: E402

SHOP = {
    "localhost/shop:1": {"SHOP_VERSION": "1"},
    "localhost/shop:2": {"SHOP_VERSION": "2", "SHOP_PRICES": "/prices.json"},
    "localhost/shop:3": {"SHOP_VERSION": "3"},
}
GREETER = {"localhost/greeter:example": {}}

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    shop = python_images(HERE / "shop/shop.py", [], SHOP)
    greeter = python_images(HERE / "greeter.py", ["mcp", "uvicorn"], GREETER)
    for name, archives in (("shop", shop), ("greeter", greeter)):
        for number, archive in enumerate(archives, 1):
            shutil.copyfile(archive, folder / f"{name}-{number}.tar")
