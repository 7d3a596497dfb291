-- Takes a pending unit. ARGV: id, unit, worker, "content" or "", and for a method the attempt at `explain`
-- that the worker holds, if it does.
-- Gives nil when there is nothing to take, else {attempt}, with content followed by the request, the
-- predictions or "", and the inputs, as they are stored.
local id, unit, worker, content, explain_attempt = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if explain_attempt and not holds(id, 'explain', explain_attempt) then
  return nil
end
local attempt = claim(id, unit, worker, explain_attempt)
if not attempt then
  return nil
end
return content == '' and {attempt} or add_content(id, {attempt})
