package echo;

import io.netty.bootstrap.ServerBootstrap;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelOption;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.ServerChannel;
import io.netty.channel.epoll.EpollEventLoopGroup;
import io.netty.channel.epoll.EpollServerSocketChannel;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import io.netty.handler.codec.LengthFieldBasedFrameDecoder;
import java.net.InetSocketAddress;

/** An echo over netty: {@code Echo nio|epoll}. One thread accepts, one serves; frames are passed on whole, one flush for each read. */
public final class Echo {
    private static final int FRAME_MAX = 1 << 20;

    private Echo() {}

    public static void main(String[] arguments) throws InterruptedException {
        boolean epoll = arguments[0].equals("epoll");
        Class<? extends ServerChannel> kind = epoll ? EpollServerSocketChannel.class : NioServerSocketChannel.class;
        Channel server = new ServerBootstrap()
            .group(loop(epoll), loop(epoll))
            .channel(kind)
            .option(ChannelOption.SO_BACKLOG, 4096)
            .childOption(ChannelOption.TCP_NODELAY, true)
            .childHandler(new ChannelInitializer<Channel>() {
                @Override
                protected void initChannel(Channel channel) {
                    channel.pipeline().addLast(new LengthFieldBasedFrameDecoder(FRAME_MAX, 0, 4), new Answer());
                }
            })
            .bind("127.0.0.1", 0).sync().channel();
        InetSocketAddress at = (InetSocketAddress) server.localAddress();
        System.out.println("listening on 127.0.0.1:" + at.getPort());
        server.closeFuture().sync();
    }

    private static EventLoopGroup loop(boolean epoll) {
        return epoll ? new EpollEventLoopGroup(1) : new NioEventLoopGroup(1);
    }

    private static final class Answer extends ChannelInboundHandlerAdapter {
        @Override
        public void channelRead(ChannelHandlerContext context, Object message) {
            context.write(message, context.voidPromise());
        }

        @Override
        public void channelReadComplete(ChannelHandlerContext context) {
            context.flush();
        }

        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
            context.close();
        }
    }
}
