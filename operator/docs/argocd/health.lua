-- Health of an LLMDeployment for Argo CD: resource.customizations.health.serving.triton-vllm.dev_LLMDeployment
local health = { status = "Progressing", message = "The operator has not seen this LLMDeployment yet." }
if obj.status == nil or obj.status.conditions == nil then
  return health
end
local found = {}
for _, condition in ipairs(obj.status.conditions) do
  found[condition.type] = condition
end
local ready, stalled = found["Ready"], found["Stalled"]
local told = ready or found["Reconciling"]
if told ~= nil then
  health.message = told.message
end
if obj.status.observedGeneration ~= nil and obj.status.observedGeneration ~= obj.metadata.generation then
  return health
end
if stalled ~= nil and stalled.status == "True" then
  return { status = "Degraded", message = stalled.message }
end
if ready ~= nil and ready.status == "True" then
  health.status = "Healthy"
elseif told ~= nil and told.reason == "ScaledToZero" then
  health.status = "Suspended"
end
return health
