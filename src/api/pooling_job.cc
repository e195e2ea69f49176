// SPDX-License-Identifier: Apache-2.0
#include "api/pooling_job.h"

#include <algorithm>

#include "api/api_error.h"
#include "api/pooling_request.h"

namespace quern {
namespace {

const Pooling& pooling_of(const JobContext& context, std::string_view model) {
  check_pools(context.service.info());
  check_model(context.service.info(), std::string(model));
  return *context.service.info().pooling;
}

[[noreturn]] void fail_kind(std::string message) {
  throw RequestError(ErrorCode::not_found, "", std::move(message), "not_found");
}

const Pooling& embeddings_of(const JobContext& context, std::string_view model) {
  const Pooling& pooling = pooling_of(context, model);
  if (pooling.output != Output::hidden)
    fail_kind(
        "this model is served for its classes: send texts to /classify, or serve it with "
        "--convert embed");
  return pooling;
}

PoolingJob job_of(const PoolingFields& fields) {
  PoolingJob job;
  job.submitted = {.n = 1, .priority = fields.priority, .cache_salt = fields.cache_salt};
  return job;
}

// What becomes of scores, unless the request asks for them as they are.
ScoreActivation activation_for(const PoolingFields& fields, const Pooling& pooling) {
  return fields.is_activated.value_or(pooling.is_activated) ? pooling.activation
                                                            : ScoreActivation::none;
}

// Tokens that a prompt may have: the context, or less if the cache holds less.
int64_t most_tokens(const ServiceInfo& info) {
  const int64_t in_cache = info.num_blocks * info.block_size;
  return info.num_blocks > 0 ? std::min(info.max_model_len, in_cache) : info.max_model_len;
}

TokenIds cut(const TokenIds& ids, size_t keep, bool keeps_end) {
  if (ids.size() <= keep) return ids;
  return keeps_end ? TokenIds(ids.end() - static_cast<ptrdiff_t>(keep), ids.end())
                   : TokenIds(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(keep));
}

// What the tokenizer puts around every text stays around one that is cut, as in the reference.
TokenIds cut_text(const TokenIds& ids, const TokenIds& own, size_t keep, bool keeps_end) {
  const auto at = std::search(ids.begin(), ids.end(), own.begin(), own.end());
  if (own.empty() || at == ids.end()) return cut(ids, keep, keeps_end);
  const size_t around = ids.size() - own.size();
  if (keep <= around)
    fail_field("truncate_prompt_tokens",
               "truncate_prompt_tokens: {} leaves no room for the text: the tokenizer puts {} "
               "tokens around it",
               keep,
               around);
  TokenIds out(ids.begin(), at);
  const TokenIds kept = cut(own, keep - around, keeps_end);
  out.insert(out.end(), kept.begin(), kept.end());
  out.insert(out.end(), at + static_cast<ptrdiff_t>(own.size()), ids.end());
  return out;
}

// One prompt on its way into a job.
class Preparation {
 public:
  Preparation(const JobContext& context, const PoolingFields& fields, const char* field)
      : service_(context.service),
        fields_(fields),
        field_(field),
        most_(most_tokens(context.service.info())) {
    if (fields.truncate_prompt_tokens.value_or(0) > most_)
      fail_field("truncate_prompt_tokens",
                 "truncate_prompt_tokens: expected at most the context of {} tokens, got {}",
                 most_,
                 *fields.truncate_prompt_tokens);
  }

  std::shared_ptr<const Prompt> chat(const ChatMessages& messages) const {
    return checked(shortened(service_.prepare(messages), nullptr));
  }
  std::shared_ptr<const Prompt> one(const TextOrTokens& input, bool add_special_tokens) const {
    const auto prompt = prepared(input, add_special_tokens);
    const auto* text = std::get_if<std::string>(&input);
    return checked(shortened(prompt, add_special_tokens ? text : nullptr));
  }

 private:
  std::shared_ptr<const Prompt> prepared(const TextOrTokens& input, bool add_special_tokens) const {
    try {
      return service_.prepare(input, add_special_tokens);
    } catch (const RequestError& e) {  // the service's name for it is that of completions
      throw RequestError(e.code(), field_, e.message(), e.reason());
    }
  }

  // `text`: what the ids are of, where special tokens stand around them.
  std::shared_ptr<const Prompt> shortened(std::shared_ptr<const Prompt> prompt,
                                          const std::string* text) const {
    if (!fields_.truncate_prompt_tokens) return prompt;
    const int64_t asked = *fields_.truncate_prompt_tokens;
    const auto keep = static_cast<size_t>(asked < 0 ? most_ : asked);
    const TokenIds& ids = prompt->ids;
    if (ids.size() <= keep) return prompt;
    if (!prompt->media.empty())
      throw RequestError(ErrorCode::unsupported,
                         "truncate_prompt_tokens",
                         "truncate_prompt_tokens: a prompt with media is not cut; shorten it",
                         "unsupported");
    const TokenIds own =
        text ? service_.tokenizer().encode(*text, {.add_special_tokens = false}) : TokenIds();
    return service_.prepare(cut_text(ids, own, keep, fields_.keeps_end), false);
  }

  std::shared_ptr<const Prompt> checked(std::shared_ptr<const Prompt> prompt) const {
    if (prompt->ids.empty())
      fail_field(field_, "{}: it has no tokens; expected at least one", field_);
    if (static_cast<int64_t>(prompt->ids.size()) > most_)
      throw RequestError(ErrorCode::invalid_argument,
                         field_,
                         format("{}: {} tokens; this server's context is {}. Shorten it, cut it "
                                "with truncate_prompt_tokens, or serve with a larger "
                                "--max-model-len",
                                field_,
                                prompt->ids.size(),
                                most_),
                         "context_length_exceeded");
    return prompt;
  }

  const Service& service_;
  const PoolingFields& fields_;
  const std::string field_;
  const int64_t most_;
};

void add_inputs(PoolingJob& job,
                const PoolingInputs& inputs,
                const PoolingFields& fields,
                const JobContext& context) {
  const Preparation preparation(context, fields, inputs.chat ? "messages" : "input");
  if (inputs.chat) job.prompts.push_back(preparation.chat(*inputs.chat));
  for (const TextOrTokens& text : inputs.texts)
    job.prompts.push_back(preparation.one(text, inputs.add_special_tokens));
}

int64_t checked_dimensions(const std::optional<int64_t>& asked, const Pooling& pooling) {
  if (!asked || *asked == pooling.size) return 0;
  if (!pooling.is_matryoshka)
    fail_field("dimensions",
               "dimensions: this model makes embeddings of {} values and was not trained to have "
               "them cut (is_matryoshka, matryoshka_dimensions in its config.json)",
               pooling.size);
  const auto& cuts = pooling.cuts;
  if (*asked > pooling.size ||
      (!cuts.empty() && std::find(cuts.begin(), cuts.end(), *asked) == cuts.end()))
    fail_field("dimensions",
               "dimensions: expected {}, got {}",
               cuts.empty() ? format("1 to {}", pooling.size)
                            : format("{} or one of {}", pooling.size, fmt::join(cuts, ", ")),
               *asked);
  return *asked;
}

// Pairs of texts on their way to scores.
struct Pairs {
  std::vector<std::string> first, second;  // first: one, or as many as second
  const char *first_field, *second_field;
};
using Scoring = std::function<std::vector<double>(const std::vector<Vector>& pooled)>;

const std::string& first_of(const Pairs& pairs, size_t i) {
  return pairs.first.size() == 1 ? pairs.first.front() : pairs.first[i];
}

// Each text is embedded once; the angle between two vectors is their score.
Scoring compare_embeddings(PoolingJob& job,
                           const Pairs& pairs,
                           const PoolingFields& fields,
                           const JobContext& context) {
  const Preparation first(context, fields, pairs.first_field),
      second(context, fields, pairs.second_field);
  for (const std::string& text : pairs.first) job.prompts.push_back(first.one(text, true));
  for (const std::string& text : pairs.second) job.prompts.push_back(second.one(text, true));
  const size_t firsts = pairs.first.size();
  return [firsts](const std::vector<Vector>& pooled) {
    std::vector<double> out;
    for (size_t i = firsts; i < pooled.size(); ++i)
      out.push_back(cosine(pooled[firsts == 1 ? 0 : i - firsts], pooled[i]));
    return out;
  };
}

// The head reads both texts as one prompt, joined as the tokenizer joins pairs.
Scoring score_together(PoolingJob& job,
                       const Pairs& pairs,
                       const PoolingFields& fields,
                       const JobContext& context) {
  const Pooling& pooling = *context.service.info().pooling;
  if (pooling.labels.size() != 1)
    throw RequestError(ErrorCode::unsupported,
                       "",
                       format("this model has {} classes; a score of a pair needs a model of one",
                              pooling.labels.size()),
                       "unsupported");
  const Preparation preparation(context, fields, pairs.second_field);
  for (size_t i = 0; i < pairs.second.size(); ++i)
    job.prompts.push_back(preparation.one(
        context.service.tokenizer().encode_pair(first_of(pairs, i), pairs.second[i]), false));
  const ScoreActivation activation = activation_for(fields, pooling);
  return [activation](const std::vector<Vector>& pooled) {
    std::vector<double> out;
    for (const Vector& scores : pooled) out.push_back(double{classes_of(scores, activation).at(0)});
    return out;
  };
}

Scoring add_pairs(PoolingJob& job,
                  const Pairs& pairs,
                  const PoolingFields& fields,
                  const JobContext& context) {
  return pooling_of(context, fields.model).output == Output::scores
             ? score_together(job, pairs, fields, context)
             : compare_embeddings(job, pairs, fields, context);
}

}  // namespace

void check_pools(const ServiceInfo& info) {
  if (!info.pooling)
    fail_kind(
        "this server generates text and makes no embeddings, scores or classes: they are served "
        "with --runner pooling");
}

void check_generates(const ServiceInfo& info) {
  if (info.pooling)
    fail_kind(
        format("this server makes {} and generates no text: serve the model with --runner generate",
               info.pooling->output == Output::hidden ? "embeddings" : "classes"));
}

PoolingJob embedding_job(const Json& body, const JobContext& context) {
  std::vector<std::string> ignored;
  const EmbeddingRequest request = EmbeddingRequest::parse(body, &ignored);
  const Pooling& pooling = embeddings_of(context, request.common.model);
  const int64_t size = checked_dimensions(request.dimensions, pooling);
  PoolingJob job = job_of(request.common);
  add_inputs(job, request.inputs, request.common, context);
  job.body = [header = request_header("embd-", context),
              size,
              is_normalized = request.common.is_activated.value_or(pooling.is_activated),
              is_base64 = request.is_base64](std::vector<Vector> pooled, const Usage& usage) {
    for (Vector& each : pooled) each = embedding_of(std::move(each), size, is_normalized);
    return embeddings_body(header, pooled, is_base64, usage);
  };
  job.ignored = std::move(ignored);
  return job;
}

PoolingJob classify_job(const Json& body, const JobContext& context) {
  std::vector<std::string> ignored;
  const ClassifyRequest request = ClassifyRequest::parse(body, &ignored);
  const Pooling& pooling = pooling_of(context, request.common.model);
  if (pooling.output != Output::scores)
    fail_kind(
        "this model makes embeddings and has no classes: a ForSequenceClassification model has");
  PoolingJob job = job_of(request.common);
  add_inputs(job, request.inputs, request.common, context);
  const ScoreActivation activation = activation_for(request.common, pooling);
  job.body = [header = request_header("classify-", context), activation, labels = pooling.labels](
                 std::vector<Vector> pooled, const Usage& usage) {
    for (Vector& each : pooled) each = classes_of(std::move(each), activation);
    return classes_body(header, pooled, labels, usage);
  };
  job.ignored = std::move(ignored);
  return job;
}

PoolingJob score_job(const Json& body, const JobContext& context) {
  std::vector<std::string> ignored;
  const ScoreRequest request = ScoreRequest::parse(body, &ignored);
  PoolingJob job = job_of(request.common);
  const Scoring scoring =
      add_pairs(job,
                {request.first, request.second, request.first_field, request.second_field},
                request.common,
                context);
  job.body = [header = request_header("score-", context), scoring](std::vector<Vector> pooled,
                                                                   const Usage& usage) {
    return scores_body(header, scoring(pooled), usage);
  };
  job.ignored = std::move(ignored);
  return job;
}

PoolingJob rerank_job(const Json& body, const JobContext& context) {
  std::vector<std::string> ignored;
  const RerankRequest request = RerankRequest::parse(body, &ignored);
  PoolingJob job = job_of(request.common);
  const Scoring scoring = add_pairs(
      job, {{request.query}, request.documents, "query", "documents"}, request.common, context);
  job.body = [header = request_header("rerank-", context),
              scoring,
              top_n = request.top_n,
              documents =
                  request.return_documents ? request.documents : std::vector<std::string>()](
                 std::vector<Vector> pooled, const Usage& usage) {
    return ranking_body(header, ranked(scoring(pooled), top_n), documents, usage);
  };
  job.ignored = std::move(ignored);
  return job;
}

}  // namespace quern
