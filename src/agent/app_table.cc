// SPDX-License-Identifier: Apache-2.0
#include "agent/app_table.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace quern::agent {
namespace {

struct KnownApp {
  std::string_view name, package;
};

// Apps of Android itself, and such as people name. --app adds others.
constexpr auto kKnownApps = std::to_array<KnownApp>({
    {"Settings", "com.android.settings"},
    {"设置", "com.android.settings"},
    {"Phone", "com.android.dialer"},
    {"Dialer", "com.android.dialer"},
    {"电话", "com.android.dialer"},
    {"Contacts", "com.android.contacts"},
    {"Messages", "com.google.android.apps.messaging"},
    {"Clock", "com.android.deskclock"},
    {"Calculator", "com.android.calculator2"},
    {"Calendar", "com.google.android.calendar"},
    {"Camera", "com.android.camera2"},
    {"Chrome", "com.android.chrome"},
    {"Files", "com.google.android.documentsui"},
    {"Gmail", "com.google.android.gm"},
    {"Google Drive", "com.google.android.apps.docs"},
    {"Google Keep", "com.google.android.keep"},
    {"Google Maps", "com.google.android.apps.maps"},
    {"Maps", "com.google.android.apps.maps"},
    {"Google Photos", "com.google.android.apps.photos"},
    {"Google Play Store", "com.android.vending"},
    {"Play Store", "com.android.vending"},
    {"Google Tasks", "com.google.android.apps.tasks"},
    {"YouTube", "com.google.android.youtube"},
    {"Firefox", "org.mozilla.firefox"},
    {"Amazon", "com.amazon.mShop.android.shopping"},
    {"Booking.com", "com.booking"},
    {"Discord", "com.discord"},
    {"Facebook", "com.facebook.katana"},
    {"Instagram", "com.instagram.android"},
    {"Netflix", "com.netflix.mediaclient"},
    {"Reddit", "com.reddit.frontpage"},
    {"Signal", "org.thoughtcrime.securesms"},
    {"Spotify", "com.spotify.music"},
    {"Telegram", "org.telegram.messenger"},
    {"TikTok", "com.zhiliaoapp.musically"},
    {"Uber", "com.ubercab"},
    {"VLC", "org.videolan.vlc"},
    {"WeChat", "com.tencent.mm"},
    {"微信", "com.tencent.mm"},
    {"WhatsApp", "com.whatsapp"},
    {"X", "com.twitter.android"},
    {"QQ", "com.tencent.mobileqq"},
    {"微博", "com.sina.weibo"},
    {"淘宝", "com.taobao.taobao"},
    {"京东", "com.jingdong.app.mall"},
    {"拼多多", "com.xunmeng.pinduoduo"},
    {"小红书", "com.xingin.xhs"},
    {"知乎", "com.zhihu.android"},
    {"高德地图", "com.autonavi.minimap"},
    {"百度地图", "com.baidu.BaiduMap"},
    {"美团", "com.sankuai.meituan"},
    {"大众点评", "com.dianping.v1"},
    {"饿了么", "me.ele"},
    {"滴滴出行", "com.sdu.didi.psnger"},
    {"携程", "ctrip.android.view"},
    {"bilibili", "tv.danmaku.bili"},
    {"抖音", "com.ss.android.ugc.aweme"},
    {"快手", "com.smile.gifmaker"},
    {"腾讯视频", "com.tencent.qqlive"},
    {"爱奇艺", "com.qiyi.video"},
    {"网易云音乐", "com.netease.cloudmusic"},
    {"QQ音乐", "com.tencent.qqmusic"},
    {"钉钉", "com.alibaba.android.rimet"},
    {"飞书", "com.ss.android.lark"},
    {"支付宝", "com.eg.android.AlipayGphone"},
});

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// Without case and blanks: "google maps" and "GoogleMaps" are one.
std::string plain(std::string_view name) {
  std::string out;
  for (const char c : name)
    if (c != ' ' && c != '-') out += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

// "…u0 com.android.settings/com.android.settings.Settings}" -> the package.
std::string package_in(std::string_view line) {
  const size_t slash = line.find('/');
  if (slash == std::string_view::npos) return {};
  size_t begin = slash;
  while (begin > 0 && (is_word(line[begin - 1]) || line[begin - 1] == '.')) --begin;
  const std::string_view package = line.substr(begin, slash - begin);
  return is_package(package) ? std::string(package) : std::string();
}

}  // namespace

bool is_package(std::string_view text) {
  char before = '.';
  size_t dots = 0;
  for (const char c : text) {
    if (!is_word(c) && (c != '.' || before == '.')) return false;
    dots += c == '.';
    before = c;
  }
  return dots > 0 && before != '.';
}

AppTable::AppTable(std::vector<AppName> own) : apps_(std::move(own)) {
  for (const AppName& app : apps_)
    if (app.name.empty() || !is_package(app.package))
      fail(ErrorCode::invalid_argument, "--app {}={}: no package", app.name, app.package);
  for (const KnownApp& app : kKnownApps)
    apps_.push_back({std::string(app.name), std::string(app.package)});
}

std::string AppTable::package_of(std::string_view name) const {
  const std::string wanted = plain(name);
  const auto it = std::find_if(
      apps_.begin(), apps_.end(), [&](const AppName& app) { return plain(app.name) == wanted; });
  if (it != apps_.end()) return it->package;
  return is_package(name) ? std::string(name) : std::string();
}

std::string AppTable::name_of(std::string_view package) const {
  const auto it = std::find_if(
      apps_.begin(), apps_.end(), [&](const AppName& app) { return app.package == package; });
  return it == apps_.end() ? "System Home" : it->name;
}

std::string focused_package(std::string_view dump) {
  while (!dump.empty()) {
    const std::string_view line = dump.substr(0, dump.find('\n'));
    dump.remove_prefix(std::min(line.size() + 1, dump.size()));
    if (line.find("mCurrentFocus") == std::string_view::npos &&
        line.find("mFocusedApp") == std::string_view::npos)
      continue;
    if (std::string package = package_in(line); !package.empty()) return package;
  }
  return {};
}

}  // namespace quern::agent
