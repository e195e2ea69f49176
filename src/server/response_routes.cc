// SPDX-License-Identifier: Apache-2.0
// Routes to what is kept of /v1/responses.
#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "api/api_error.h"
#include "base/json.h"
#include "server/route_context.h"

namespace quern {
namespace {

constexpr int kDefaultPage = 20, kMaxPage = 100;

RequestError not_kept(const std::string& id) {
  return RequestError(ErrorCode::not_found,
                      "response_id",
                      format("there is no response \"{}\" (any more)", id.substr(0, 64)),
                      "response_not_found");
}

std::shared_ptr<const StoredResponse> kept(RouteContext& context, Exchange& exchange) {
  const HttpRequest& request = exchange.request();
  const std::string& id = request.parameters.at(0);
  auto response = context.responses.get(id, request.owner);
  if (!response) throw not_kept(id);
  return response;
}

void refuse_stream(const std::string& query) {
  if (query_value(query, "stream") == "true")
    throw RequestError(ErrorCode::unsupported,
                       "stream",
                       "stream: what has ended cannot be streamed again; ask for it whole",
                       "unsupported");
}

// What may throw stands outside of the awaits: g++ 12 destroys temporaries of an await twice.
Task<> show(RouteContext& context, Exchange& exchange) {
  refuse_stream(exchange.request().query);
  HttpResponse response = json_response(kept(context, exchange)->body);
  co_await exchange.respond(std::move(response));
}

std::string removed(RouteContext& context, const HttpRequest& request) {
  const std::string& id = request.parameters.at(0);
  if (!context.responses.erase(id, request.owner)) throw not_kept(id);
  return json_text({{"id", id}, {"object", "response"}, {"deleted", true}});
}

Task<> remove(RouteContext& context, Exchange& exchange) {
  HttpResponse response = json_response(removed(context, exchange.request()));
  co_await exchange.respond(std::move(response));
}

// Only what runs in the background could be; to end another one, its client leaves.
[[noreturn]] void refuse_to_cancel(RouteContext& context, Exchange& exchange) {
  kept(context, exchange);
  throw RequestError(ErrorCode::invalid_argument,
                     "response_id",
                     "only responses in the background can be cancelled; this one has ended. To "
                     "cancel one that runs, close its connection");
}

Task<> cancel(RouteContext& context, Exchange& exchange) {
  refuse_to_cancel(context, exchange);
  co_return;
}

int page_size(const std::string& query) {
  const std::string text = query_value(query, "limit");
  int limit = kDefaultPage;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), limit);
  const bool is_number = error == std::errc() && end == text.data() + text.size();
  if (!text.empty() && (!is_number || limit < 1 || limit > kMaxPage))
    fail_field("limit", "limit: expected a number from 1 to {}", kMaxPage);
  return limit;
}

std::string input_page(const StoredResponse& response, const std::string& query) {
  Json items = parse_json(response.input, "stored items");
  const std::string order = query_value(query, "order"), after = query_value(query, "after");
  if (!order.empty() && order != "asc" && order != "desc")
    fail_field("order", "order: expected asc or desc");
  if (order != "asc") std::reverse(items.begin(), items.end());
  const auto is_after = [&](const Json& item) { return item.value("id", "") == after; };
  auto begin = items.begin();
  if (!after.empty()) {
    begin = std::find_if(items.begin(), items.end(), is_after);
    if (begin == items.end()) fail_field("after", "after: no item has that id");
    ++begin;
  }
  const auto count = std::min<int64_t>(page_size(query), items.end() - begin);
  Json data = Json::array();
  for (auto item = begin; item != begin + count; ++item) data.push_back(*item);
  Json page = {{"object", "list"}};
  page["first_id"] = data.empty() ? Json(nullptr) : data.front()["id"];
  page["last_id"] = data.empty() ? Json(nullptr) : data.back()["id"];
  page["has_more"] = begin + count != items.end();
  page["data"] = std::move(data);
  return json_text(page);
}

Task<> input_items(RouteContext& context, Exchange& exchange) {
  const auto response = kept(context, exchange);
  std::string body;
  std::function<void()> work = [&] { body = input_page(*response, exchange.request().query); };
  co_await exchange.offload(std::move(work));
  co_await exchange.respond(json_response(std::move(body)));
}

}  // namespace

void add_response_routes(Router& router, RouteContext& context) {
  const auto with = [&context](Task<> (*route)(RouteContext&, Exchange&)) {
    return [&context, route](Exchange& exchange) { return route(context, exchange); };
  };
  router.add("GET", "/v1/responses/{id}", {}, with(show));
  router.add("DELETE", "/v1/responses/{id}", {}, with(remove));
  router.add("GET", "/v1/responses/{id}/input_items", {}, with(input_items));
  router.add("POST", "/v1/responses/{id}/cancel", {}, with(cancel));
}

}  // namespace quern
