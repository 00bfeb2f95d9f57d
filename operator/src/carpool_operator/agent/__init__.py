"""The node agent: reads the GPUs of its node through NVML and reports them in the node's GPUNode.

What must stay true: nothing that happens to a GPU or to the driver ends the agent, one bad GPU
changes nothing about its siblings, and what is reported is what was seen.
"""
