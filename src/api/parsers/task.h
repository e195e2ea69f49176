// SPDX-License-Identifier: Apache-2.0
// ParserTask<T>: a coroutine that another one awaits. Parsers are written with it as if the whole
// text were there: where it ends, the innermost one is left waiting (TextReader). A task runs when
// it is called, up to where it must wait, and TextReader resumes who waited, then who awaited that
// one: the stack stays flat without tail calls, which g++ makes with optimization only. g++ 12
// compiles awaits wrongly inside of larger expressions (left of ||, in the value of co_return):
// each stands in a statement of its own, alone or as what a variable gets.
#pragma once

#include <coroutine>
#include <exception>
#include <utility>

namespace quern {

struct TaskPromise {
  std::coroutine_handle<> handle;
  TaskPromise* caller = nullptr;  // waits for this one
  std::exception_ptr error;

  std::suspend_never initial_suspend() const noexcept { return {}; }
  std::suspend_always final_suspend() const noexcept { return {}; }
  void unhandled_exception() { error = std::current_exception(); }
};

template <typename T>
class [[nodiscard]] ParserTask {
 public:
  struct promise_type : TaskPromise {
    T value{};

    ParserTask get_return_object() {
      const auto own = std::coroutine_handle<promise_type>::from_promise(*this);
      handle = own;
      return ParserTask(own);
    }
    void return_value(T result) { value = std::move(result); }
  };

  ParserTask() = default;
  explicit ParserTask(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  ~ParserTask() {
    if (handle_) handle_.destroy();
  }
  ParserTask(ParserTask&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  ParserTask& operator=(ParserTask&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }

  bool await_ready() const { return is_done(); }
  template <typename Promise>
  void await_suspend(std::coroutine_handle<Promise> caller) {
    handle_.promise().caller = &caller.promise();
  }
  T await_resume() { return result(); }

  bool is_done() const { return handle_.done(); }
  // Throws what left the coroutine.
  T result() {
    if (handle_.promise().error) std::rethrow_exception(handle_.promise().error);
    return std::move(handle_.promise().value);
  }

 private:
  std::coroutine_handle<promise_type> handle_;
};

}  // namespace quern
