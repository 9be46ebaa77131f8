-- Carries a plan out if what it was made from still stands, else answers {CONFLICT} and changes nothing.
-- ARGV: create, MessagePack of the plan
local p = policy(ARGV[1])
if not p then return {NO_PARTITION} end
local plan = cmsgpack.unpack(ARGV[2])
local heads = still_stands(plan)
if not heads then return {CONFLICT} end
carry_out(plan, heads)
return {DONE, now}
