"""The resources of ours: their kinds, their group, and who writes what of them."""

from __future__ import annotations

from dataclasses import dataclass

from pilotage.kubernetes.kind import Kind

GROUP = "mcp.example.com"
VERSION = "v1alpha1"
MANAGER = "pilotage-operator"
"""The field manager of all that the operator writes."""


@dataclass(frozen=True, slots=True)
class Resources:
    """The kinds of one group. The group is a setting of chart and operator; GROUP is the
    article's."""

    group: str = GROUP

    @property
    def tool(self) -> Kind:
        return Kind(self.group, VERSION, "MCPTool", "mcptools")

    @property
    def instance(self) -> Kind:
        return Kind(self.group, VERSION, "MCPToolInstance", "mcptoolinstances")

    @property
    def pipeline(self) -> Kind:
        return Kind(self.group, VERSION, "MCPPipeline", "mcppipelines")

    @property
    def run(self) -> Kind:
        return Kind(self.group, VERSION, "MCPPipelineRun", "mcppipelineruns")

    @property
    def finalizer(self) -> str:
        """Holds an object until the tool server has let go of what it stands for."""
        return f"{self.group}/unregister"
