"""A real Kubernetes cluster on loopback, for tests and for a person: built from its Go modules,
started without Docker, gone without a trace. It knows nothing of pilotage.

`build` makes the programs, `control_plane` starts etcd, the API server and the controllers,
`node` adds a kubelet that runs real pods, `images` packs images, `python -m cluster` is the door.
"""
