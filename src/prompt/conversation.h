// SPDX-License-Identifier: Apache-2.0
// Messages in OpenAI's shape, made ready for a chat template, and the rendering itself.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "media/media_input.h"
#include "text/jinja/chat_template.h"

namespace quern {

// A content part that carries a medium; `where` names it: "messages[1].content[0]".
struct MediaPart {
  const Json* part = nullptr;  // inside the messages that were read
  std::string where;
  MediaKind kind = MediaKind::image;
};

// The messages for the template: checked, without the media's data, which are appended to `media`
// in order. Parts that carry media get the type "image", "video" or "audio", which all templates
// know, and keep their keys. Arguments of tool calls become objects. For a text model, lists of
// text parts are joined with line feeds: its template may know only strings. Throws
// invalid_argument naming the place; so does a medium for a text model.
Json read_conversation(const Json& messages, bool takes_media, std::vector<MediaPart>& media);

// Renders `variables` (with "messages") so that the text ends inside the last message, as
// transformers does it. Throws invalid_argument if the last message has no text, or the template
// drops it.
std::string render_continued(const ChatTemplate& chat_template, Json variables, int64_t now_unix_s);

}  // namespace quern
