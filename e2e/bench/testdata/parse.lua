-- Reads what a token limit needs, and does nothing with it. What isn't found is an error, so that the counter of errors
-- proves that all was found.

function envoy_on_request(handle)
  local body = handle:body()
  local text = body:getBytes(0, body:length())
  local model = string.match(text, '"model"%s*:%s*"([^"]*)"')
  local limit = string.match(text, '"max_tokens"%s*:%s*(%d+)')
  local stream = string.match(text, '"stream"%s*:%s*(%a+)')
  if not (model and limit and stream) then error("a field is missing from the request") end
end

local function usage(text)
  local prompt = string.match(text, '"prompt_tokens"%s*:%s*(%d+)')
  local completion = string.match(text, '"completion_tokens"%s*:%s*(%d+)')
  return prompt and completion
end

function envoy_on_response(handle)
  local found
  if string.match(handle:headers():get("content-type") or "", "^text/event%-stream") then
    -- Piece by piece: body() would hold the stream back until its end. A usage split between two pieces is missed.
    for piece in handle:bodyChunks() do
      found = usage(piece:getBytes(0, piece:length())) or found
    end
  else
    local body = handle:body()
    found = usage(body:getBytes(0, body:length()))
  end
  if not found then error("no usage in the response") end
end
