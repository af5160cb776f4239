// What the conversation says besides the replies, in Chinese or English by locale.
#pragma once

#include <string_view>

namespace baichuan {

struct ChatText {
  std::string_view banner;
  std::string_view user;
  std::string_view assistant;
  std::string_view stream_on;
  std::string_view stream_off;
  std::string_view cleared;
  std::string_view how_to_leave;
  std::string_view stopped;
  std::string_view not_utf8;
  std::string_view rounds_dropped;  // one number
  std::string_view message_cut;
  std::string_view reply_cut;  // one number
};

inline constexpr ChatText kEnglish = {
    .banner =
        "Type a message. clear: forget the conversation, stream: replies as they come or at once, Ctrl-C: stop "
        "a reply, exit or Ctrl-D: leave.",
    .user = "User: ",
    .assistant = "Baichuan: ",
    .stream_on = "(replies are shown as they come)",
    .stream_off = "(replies are shown when they are complete)",
    .cleared = "(the conversation is forgotten)",
    .how_to_leave = "(exit or Ctrl-D leaves)",
    .stopped = "(stopped)",
    .not_utf8 = "(not sent: the message is not valid UTF-8)",
    .rounds_dropped = "(the window is full: the oldest rounds are no longer seen, {} in all)",
    .message_cut = "(the message is longer than the window: its beginning is not seen)",
    .reply_cut = "(cut after {} tokens)",
};

inline constexpr ChatText kChinese = {
    .banner = "输入消息开始对话。clear 清空历史，stream 切换流式输出，Ctrl-C 停止当前回答，exit 或 Ctrl-D 退出。",
    .user = "用户：",
    .assistant = "Baichuan：",
    .stream_on = "（回答将逐字显示）",
    .stream_off = "（回答将在完成后显示）",
    .cleared = "（对话历史已清空）",
    .how_to_leave = "（输入 exit 或按 Ctrl-D 退出）",
    .stopped = "（已停止）",
    .not_utf8 = "（未发送：消息不是有效的 UTF-8）",
    .rounds_dropped = "（上下文窗口已满：最早的对话不再可见，共 {} 轮）",
    .message_cut = "（消息超出窗口长度：开头部分不可见）",
    .reply_cut = "（回答在 {} 个词元后被截断）",
};

}  // namespace baichuan
