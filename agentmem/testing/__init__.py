"""For tests of agentmem, of other backends, and of applications that use it.

`agentmem.testing.plugin` is a pytest plugin with real stores as fixtures, `agentmem.testing.servers` starts real
servers without pytest, `agentmem.testing.contract` is the contract as a suite for any repository.
"""
