"""How much the JVMs of the stack compile: what they spend on it is missing elsewhere while a stack starts."""

FIRST_COMPILER_ONLY = "-XX:TieredStopAtLevel=1"
"""For a process that computes little, or ends before the second compiler would pay."""

LATE_SECOND_COMPILER = (
    "-XX:Tier4InvocationThreshold=50000",
    "-XX:Tier4MinInvocationThreshold=6000",
    "-XX:Tier4CompileThreshold=150000",
    "-XX:Tier4BackEdgeThreshold=400000",
)
"""The second compiler only for what is called ten times as often as by default: what an event passes through is so
within seconds."""
